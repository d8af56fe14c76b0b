//! Lists of ports as annotations have them.

use std::collections::BTreeSet;

use linkerd_harness_core::names::PortRange;

use super::golang::shown;

/// Reads a list item by item. A name is a port of the workload of that name. Neither a VM's proxy nor Linkerd's policy
/// controller takes a list with one item that it cannot read, so such an item is left out, with the reason.
pub(super) fn read(text: &str, named: &[(String, u16)]) -> (Vec<PortRange>, Result<(), String>) {
    let (mut ranges, mut bad) = (Vec::new(), Vec::new());
    for item in text.split(',').map(str::trim) {
        let by_name = named
            .iter()
            .find(|(name, _)| !item.is_empty() && name == item)
            .and_then(|(_, port)| PortRange::single(*port));
        match by_name.map_or_else(|| item.parse(), Ok) {
            Ok(range) => ranges.push(range),
            Err(_) if item.is_empty() => {}
            Err(_) => bad.push(format!("`{}`", shown(item))),
        }
    }
    let problem = if bad.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} {} neither a port, a range nor the name of a port of the group",
            bad.join(", "),
            if bad.len() == 1 { "is" } else { "are" }
        ))
    };
    (ranges, problem)
}

/// The list as text that everybody reads alike.
pub(super) fn text(ranges: &[PortRange]) -> String {
    let items: Vec<_> = ranges.iter().map(PortRange::to_string).collect();
    items.join(",")
}

/// Those of the workload's ports that are on the list, as the injector picks them for a pod.
pub(super) fn exposed(list: &str, ports: &[(String, u16)]) -> String {
    let (ranges, _) = read(list, &[]);
    let exposed: BTreeSet<_> = ports
        .iter()
        .map(|(_, port)| *port)
        .filter(|port| ranges.iter().any(|range| range.bounds().contains(port)))
        .collect();
    let items: Vec<_> = exposed.iter().map(u16::to_string).collect();
    items.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Vec<(String, u16)> {
        vec![
            ("db".into(), 3306),
            (String::new(), 80),
            ("web".into(), 8080),
        ]
    }

    #[test]
    fn names_become_numbers_and_what_cannot_be_read_is_left_out() {
        let (ranges, problem) = read(" 25, db,4000-4100,,http,0,", &ports());
        assert_eq!(text(&ranges), "25,3306,4000-4100");
        let problem = problem.unwrap_err();
        assert!(problem.contains("`http`, `0` are"), "{problem}");
        assert_eq!(read("", &ports()), (Vec::new(), Ok(())));
    }

    #[test]
    fn only_ports_that_the_workload_has_are_exposed() {
        assert_eq!(exposed("25,3000-4000,80", &ports()), "80,3306");
        assert_eq!(exposed("25", &ports()), "");
    }
}

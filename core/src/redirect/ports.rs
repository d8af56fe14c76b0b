//! Sets of ports, and their cut into what one `multiport` match can hold.

use std::fmt;

use crate::names::PortRange;

/// What one `multiport` match holds: 15 ports, where a range counts as two (`XT_MULTI_PORTS`, iptables-extensions(8)).
const MULTIPORT_SLOTS: usize = 15;

/// First and last port of a run, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    first: u16,
    last: u16,
}

/// A set of ports as sorted, disjoint runs. Ports that follow one another are one run when that saves a slot, so three
/// or more; two stay two ports (`4567,4568`, as operators know it).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PortSet(Vec<Run>);

/// The runs of one `multiport` match, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Multiport(Vec<Run>);

// === impl Run ===

impl Run {
    fn slots(self) -> usize {
        if self.first == self.last { 1 } else { 2 }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

// === impl PortSet ===

impl PortSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.0
            .iter()
            .any(|run| (run.first..=run.last).contains(&port))
    }

    /// The set, cut into matches.
    pub(super) fn multiports(&self) -> Vec<Multiport> {
        let mut groups: Vec<Multiport> = Vec::new();
        let mut free = 0;
        for run in &self.0 {
            match groups.last_mut() {
                Some(group) if run.slots() <= free => group.0.push(*run),
                _ => {
                    groups.push(Multiport(vec![*run]));
                    free = MULTIPORT_SLOTS;
                }
            }
            free -= run.slots();
        }
        groups
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut sorted: Vec<Run> = ranges
            .into_iter()
            .map(|range| Run {
                first: *range.bounds().start(),
                last: *range.bounds().end(),
            })
            .collect();
        sorted.sort_unstable();
        let mut merged: Vec<Run> = Vec::new();
        for run in sorted {
            match merged.last_mut() {
                // Saturating: nothing follows 65535.
                Some(before) if run.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(run.last);
                }
                _ => merged.push(run),
            }
        }
        Self(merged.into_iter().flat_map(split_pair).collect())
    }
}

impl FromIterator<u16> for PortSet {
    /// Port 0 is no port and is left out.
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        ports.into_iter().filter_map(PortRange::single).collect()
    }
}

// === impl Multiport ===

impl Multiport {
    /// Takes the other's ports in, which must come after its own.
    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// `22`, `8000-8010`, where two ports that follow one another are a range too.
    pub(super) fn ranges(&self) -> Vec<String> {
        let mut joined: Vec<Run> = Vec::new();
        for run in &self.0 {
            match joined.last_mut() {
                Some(before) if before.last.checked_add(1) == Some(run.first) => {
                    before.last = run.last;
                }
                _ => joined.push(*run),
            }
        }
        let text = |run: &Run| run.to_string().replace(':', "-");
        joined.iter().map(text).collect()
    }
}

impl fmt::Display for Multiport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{run}")?;
        }
        Ok(())
    }
}

fn split_pair(run: Run) -> Vec<Run> {
    if run.last - run.first == 1 {
        let single = |port| Run {
            first: port,
            last: port,
        };
        vec![single(run.first), single(run.last)]
    } else {
        vec![run]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mk_set(text: &str) -> PortSet {
        text.split(',')
            .map(|range| range.parse::<PortRange>().unwrap())
            .collect()
    }

    fn rendered(set: &PortSet) -> Vec<String> {
        set.multiports().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pairs_stay_ports_and_longer_runs_become_ranges() {
        assert_eq!(rendered(&mk_set("4568,4567")), ["4567,4568"]);
        assert_eq!(rendered(&mk_set("4192,4190,4191,22")), ["22,4190:4192"]);
        assert_eq!(
            rendered(&mk_set("1-10,5-20,65535,65534-65535")),
            ["1:20,65534,65535"]
        );
        assert_eq!(rendered(&PortSet::default()), [""; 0]);
    }

    proptest! {
        #[test]
        fn groups_cover_exactly_the_set_and_fit_the_kernel(
            ranges in prop::collection::vec((1u16.., 0u16..40), 0..120)
        ) {
            let ranges: Vec<PortRange> = ranges
                .iter()
                .map(|(first, more)| format!("{first}-{}", first.saturating_add(*more)).parse().unwrap())
                .collect();
            let set: PortSet = ranges.iter().copied().collect();
            let mut covered = vec![0u8; 65536];
            for group in set.multiports() {
                prop_assert!(group.0.iter().map(|run| run.slots()).sum::<usize>() <= MULTIPORT_SLOTS);
                for run in group.0 {
                    (run.first..=run.last).for_each(|port| covered[usize::from(port)] += 1);
                }
            }
            let mut wanted = vec![0u8; 65536];
            for range in &ranges {
                range.bounds().for_each(|port| wanted[usize::from(port)] = 1);
            }
            prop_assert!(covered == wanted, "{:?} for {:?}", set, ranges);
            let probe = ranges.first().map_or(1, |range| *range.bounds().start());
            prop_assert_eq!(set.contains(probe), wanted[usize::from(probe)] == 1);
        }
    }
}

//! The configuration file, its editor, and the names in it.

use linkerd_harness_core::config::{self, Config};
use linkerd_harness_core::names::{DnsLabel, DnsName, HostPort, PortRange};

use crate::{Target, text};

pub(crate) const CONFIGURATION: Target = Target {
    name: "configuration",
    run: parse,
    seeds: files,
};

pub(crate) const EDIT: Target = Target {
    name: "edit",
    run: edit,
    seeds: edits,
};

pub(crate) const NAMES: Target = Target {
    name: "names",
    run: names,
    seeds: many_names,
};

fn parse(input: &[u8]) -> bool {
    let parsed = Config::from_bytes(input);
    if let Err(problems) = &parsed {
        assert_ne!(problems.iter().count(), 0, "refused without a reason");
    }
    let settings = config::settings(&text(input));
    assert!(
        parsed.is_err() || settings.is_ok(),
        "a configuration that is taken must be shown"
    );
    parsed.is_ok()
}

/// First line: flags and values, `flag=value` with blanks between. The rest: the file.
fn edit(input: &[u8]) -> bool {
    let input = text(input);
    let (flags, file) = input.split_once('\n').unwrap_or(("", &input));
    let changes: Vec<(&str, &str)> = flags
        .split(' ')
        .filter_map(|flag| flag.split_once('='))
        .collect();
    match config::edit(file, &changes) {
        Ok(edited) => {
            let again = config::edit(&edited, &changes).expect("an edit must be an edit again");
            assert_eq!(again, edited, "the same edit twice must be the edit");
            true
        }
        Err(problems) => {
            assert_ne!(problems.iter().count(), 0, "refused without a reason");
            false
        }
    }
}

fn names(input: &[u8]) -> bool {
    fn round_trip<T>(text: &str) -> bool
    where
        T: std::str::FromStr<Err: std::fmt::Debug>
            + std::fmt::Display
            + PartialEq
            + std::fmt::Debug,
    {
        let Ok(value) = text.parse::<T>() else {
            return false;
        };
        let again = value.to_string().parse::<T>();
        assert_eq!(again.expect("what is printed must be readable"), value);
        true
    }
    let text = text(input);
    let taken = [
        round_trip::<DnsLabel>(&text),
        round_trip::<DnsName>(&text),
        round_trip::<HostPort>(&text),
        round_trip::<PortRange>(&text),
        round_trip::<autoregistration::identity::SpiffeId>(&text),
        config::duration(&text).is_ok(),
    ];
    taken.contains(&true)
}

fn files() -> Vec<Vec<u8>> {
    let minimal = r#"{
  "WorkloadGroup": {"Name": "training-vm", "Namespace": "training"},
  "Control": {"Address": "a.example.:8081", "ServerId": "a.example"}
}"#;
    let more = r#",
  "PortsToRedirect": ["80", "4000-4100"], "SubnetsToIgnore": ["10.0.0.0/8", "fd00::/8"],
  "IPv6": true
}"#;
    let redirect = minimal.strip_suffix("\n}").unwrap_or(minimal).to_owned() + more;
    vec![minimal.into(), redirect.into()]
}

fn edits() -> Vec<Vec<u8>> {
    let all = files();
    let file = text(&all[0]);
    let flags = "workload-group-name=other ipv6=true ports-to-redirect=80,90-95 subnets-to-ignore=10.0.0.0/8";
    vec![format!("{flags}\n{file}").into()]
}

fn many_names() -> Vec<Vec<u8>> {
    [
        "training-vm",
        "linkerd-autoregistration.linkerd.svc.cluster.local.:8081",
        "[fd00::1]:80",
        "4000-4100",
        "spiffe://root.linkerd.cluster.local/proxy-harness",
        "1m30s",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into()
}

//! A `Hello` that has been checked: what a VM says of itself, in types that cannot be wrong.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use linkerd_harness_api::{CAPABILITY_PENDING, v1};
use linkerd_harness_core::labels;
use linkerd_harness_core::names::{DnsLabel, GroupRef};
use prost::Message as _;

use super::health::Health;
use super::probe_kinds::ProbeKinds;
use crate::refusal::{Refusal, Violation};

/// A checked `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The group that it wants to be a member of.
    pub group: GroupRef,
    /// What names the machine, stable over reboots.
    pub instance_id: [u8; 32],
    /// What names the process.
    pub session_id: Vec<u8>,
    /// Orders the streams of the process.
    pub stream_seq: u64,
    /// Addresses under which the mesh reaches the VM, the preferred one first, each once.
    pub ips: Vec<IpAddr>,
    /// Port of its proxy's inbound listener.
    pub proxy_inbound_port: u16,
    /// Zone, may be empty.
    pub zone: String,
    /// Labels that it asks for.
    pub labels: BTreeMap<String, String>,
    /// Edition of the group of which it was told last; 0 when of none.
    pub edition: i64,
    /// Present health.
    pub health: Health,
    /// For people, may be empty; printable ASCII.
    pub hostname: String,
    /// Whether the harness waits on the open stream for its group to appear.
    pub can_wait: bool,
    /// Which kinds of probes it can make.
    pub probe_kinds: ProbeKinds,
}

const PROXY_INBOUND_PORT: u16 = 4143;
const LONGEST_SESSION_ID: usize = 64;
const LONGEST_HOSTNAME: usize = 253;
const MOST_IPS: usize = 8;
/// Bytes of a `Hello`, and of any other message of a harness.
pub const LARGEST_MESSAGE: usize = 16 * 1024;
/// Characters of a faulty text that a refusal repeats. A refusal travels in headers, which have their own limit.
const LONGEST_QUOTE: usize = 64;

/// Checks a `Hello`; every fault is in the refusal.
pub fn check(wire: v1::Hello) -> Result<Hello, Refusal> {
    let mut faults = Faults::default();
    let size = wire.encoded_len();
    if size > LARGEST_MESSAGE {
        faults.add(
            "hello",
            format!("has {size} bytes, more than {LARGEST_MESSAGE}"),
        );
        // Nothing else is looked at, so that it costs no more than its size.
        return Err(Refusal::invalid(faults.0));
    }
    let wire_group = wire.group.unwrap_or_default();
    let namespace = faults.label("group.namespace", &wire_group.namespace);
    let name = faults.label("group.name", &wire_group.name);
    let instance_id = <[u8; 32]>::try_from(wire.instance_id).map_err(|id| {
        faults.add("instance_id", format!("has {} bytes, not 32", id.len()));
    });
    if wire.session_id.is_empty() || wire.session_id.len() > LONGEST_SESSION_ID {
        faults.add(
            "session_id",
            format!(
                "has {} bytes, not 1 to {LONGEST_SESSION_ID}",
                wire.session_id.len()
            ),
        );
    }
    let ips = ips(&wire.ips, &mut faults);
    let proxy_inbound_port = match u16::try_from(wire.proxy_inbound_port) {
        Ok(0) => PROXY_INBOUND_PORT,
        // Linkerd's proxies take 65535 for "none".
        Ok(port) if port < u16::MAX => port,
        _ => {
            faults.add(
                "proxy_inbound_port",
                format!("is {}, not 1 to 65534", wire.proxy_inbound_port),
            );
            PROXY_INBOUND_PORT
        }
    };
    if !labels::is_value(&wire.zone) {
        faults.add(
            "zone",
            format!("{} {}", quote(&wire.zone), labels::Invalid::Value),
        );
    }
    let labels = said_labels(wire.labels, &mut faults);
    let hostname = wire.build.unwrap_or_default().hostname;
    let (Some(namespace), Some(name), Ok(instance_id), []) =
        (namespace, name, instance_id, faults.0.as_slice())
    else {
        return Err(Refusal::invalid(faults.0));
    };
    Ok(Hello {
        group: GroupRef { namespace, name },
        instance_id,
        session_id: wire.session_id,
        stream_seq: wire.stream_seq,
        ips,
        proxy_inbound_port,
        zone: wire.zone,
        labels,
        edition: wire.resume.map_or(0, |resume| resume.group_generation),
        health: Health::from_wire(wire.health.unwrap_or_default()),
        hostname: hostname
            .chars()
            .filter(char::is_ascii_graphic)
            .take(LONGEST_HOSTNAME)
            .collect(),
        probe_kinds: ProbeKinds::announced(&wire.capabilities),
        can_wait: wire
            .capabilities
            .iter()
            .any(|capability| capability == CAPABILITY_PENDING),
    })
}

/// Checks the addresses of an `AddressChange`.
pub fn check_ips(wire: &[String]) -> Result<Vec<IpAddr>, Refusal> {
    let mut faults = Faults::default();
    let ips = ips(wire, &mut faults);
    if faults.0.is_empty() {
        Ok(ips)
    } else {
        Err(Refusal::invalid(faults.0))
    }
}

fn ips(wire: &[String], faults: &mut Faults) -> Vec<IpAddr> {
    if wire.is_empty() || wire.len() > MOST_IPS {
        faults.add(
            "ips",
            format!("has {} addresses, not 1 to {MOST_IPS}", wire.len()),
        );
        return Vec::new();
    }
    let mut ips = Vec::new();
    for (index, text) in wire.iter().enumerate() {
        // `::ffff:10.0.0.1` and `10.0.0.1` are one address; from here on there is only the latter.
        match text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if reachable(ip) => {
                if !ips.contains(&ip) {
                    ips.push(ip);
                }
            }
            Ok(ip) => faults.add(
                format!("ips[{index}]"),
                format!("`{ip}` is no address at which others reach a machine"),
            ),
            Err(_) => faults.add(
                format!("ips[{index}]"),
                format!("{} is not an IP address", quote(text)),
            ),
        }
    }
    ips
}

/// Not loopback, link-local, multicast, broadcast, unspecified or "this network".
fn reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
                || ip.is_unspecified())
        }
    }
}

/// Labels that an API server would take.
fn said_labels(wire: HashMap<String, String>, faults: &mut Faults) -> BTreeMap<String, String> {
    let labels = wire.into_iter().collect::<BTreeMap<_, _>>();
    if labels.len() > labels::MOST {
        faults.add(
            "labels",
            format!("has {} entries, more than {}", labels.len(), labels::MOST),
        );
        return BTreeMap::new();
    }
    for (key, value) in &labels {
        if !labels::is_key(key) {
            faults.add("labels", format!("{} {}", quote(key), labels::Invalid::Key));
        } else if !labels::is_value(value) {
            let problem = format!("{} {}", quote(value), labels::Invalid::Value);
            faults.add(format!("labels[{key}]"), problem);
        }
    }
    labels
}

/// A text of a VM as it is repeated: its beginning, in one line.
pub(super) fn quote(text: &str) -> String {
    let escaped = text.chars().flat_map(char::escape_debug);
    let mut quote = escaped.take(LONGEST_QUOTE + 1).collect::<String>();
    if quote.chars().count() > LONGEST_QUOTE {
        quote = quote.chars().take(LONGEST_QUOTE).chain(['…']).collect();
    }
    format!("`{quote}`")
}

#[derive(Default)]
struct Faults(Vec<Violation>);

// === impl Faults ===

impl Faults {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation {
            field: field.into(),
            problem: problem.into(),
        });
    }

    fn label(&mut self, field: &str, text: &str) -> Option<DnsLabel> {
        text.parse()
            .map_err(|error| self.add(field, format!("{} {error}", quote(text))))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::Hello {
        v1::Hello {
            group: Some(v1::GroupRef {
                namespace: "training".into(),
                name: "training-vm".into(),
            }),
            instance_id: vec![7; 32],
            session_id: vec![1; 16],
            ips: vec!["10.77.0.2".into(), "::ffff:10.77.0.2".into()],
            ..v1::Hello::default()
        }
    }

    #[test]
    fn a_minimal_hello_gets_its_defaults() {
        let hello = check(wire()).unwrap();
        assert_eq!(hello.proxy_inbound_port, 4143);
        assert_eq!(hello.ips, ["10.77.0.2".parse::<IpAddr>().unwrap()]);
        assert!(!hello.can_wait);
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let refusal = check(v1::Hello {
            group: None,
            instance_id: vec![7; 31],
            session_id: Vec::new(),
            ips: [
                "10.77.0.2",
                "127.0.0.1",
                "169.254.1.1",
                "fe80::1",
                "::ffff:127.0.0.1",
                "0.0.0.0",
                "x",
            ]
            .map(String::from)
            .to_vec(),
            proxy_inbound_port: 65_535,
            zone: "a b".into(),
            ..wire()
        })
        .unwrap_err();
        let fields = refusal
            .violations()
            .iter()
            .map(|violation| violation.field.as_str())
            .collect::<Vec<_>>();
        assert_eq!(
            fields,
            [
                "group.namespace",
                "group.name",
                "instance_id",
                "session_id",
                "ips[1]",
                "ips[2]",
                "ips[3]",
                "ips[4]",
                "ips[5]",
                "ips[6]",
                "proxy_inbound_port",
                "zone",
            ]
        );
        assert!(check_ips(&[]).is_err());
    }
    #[test]
    fn what_a_stranger_wrote_is_repeated_in_part_and_in_one_line() {
        let long = format!("a\n\0\u{202e}{}", "é".repeat(500));
        let refusal = check(v1::Hello {
            ips: vec![long.clone(); MOST_IPS],
            zone: long,
            ..wire()
        })
        .unwrap_err();
        let said = refusal.message();
        assert!(!said.contains(char::is_control), "{said:?}");
        assert!(said.contains("a\\n\\0") && said.contains('…'), "{said}");
        assert!(said.len() < 2000, "{}", said.len());
    }

    #[test]
    fn a_hello_is_at_most_so_large() {
        let with = |bytes: usize| v1::Hello {
            boot_id: vec![0; bytes],
            ..wire()
        };
        let small = with(0).encoded_len();
        assert!(check(with(LARGEST_MESSAGE - small - 10)).is_ok());
        let refusal = check(with(LARGEST_MESSAGE)).unwrap_err();
        assert_eq!(refusal.violations()[0].field, "hello");
    }

    #[test]
    fn a_hostname_is_what_can_be_printed_of_it() {
        let build = v1::BuildInfo {
            hostname: format!("v\u{0}m\n-\u{202e}1 é{}", "x".repeat(300)),
            ..v1::BuildInfo::default()
        };
        let hello = check(v1::Hello {
            build: Some(build),
            ..wire()
        });
        let hostname = hello.unwrap().hostname;
        assert!(hostname.starts_with("vm-1x"), "{hostname}");
        assert_eq!(hostname.len(), LONGEST_HOSTNAME);
    }

    #[test]
    fn a_label_that_kubernetes_would_refuse_is_a_fault() {
        let says = |key: &str, value: &str| {
            let labels = [
                ("good".to_owned(), "x".to_owned()),
                (key.into(), value.into()),
            ];
            check(v1::Hello {
                labels: labels.into(),
                ..wire()
            })
        };
        assert_eq!(says("example.com/rack", "r7").unwrap().labels.len(), 2);
        for (key, value, field) in [
            ("a b", "r7", "labels"),
            ("example.com/*", "r7", "labels"),
            ("rack", "r 7", "labels[rack]"),
        ] {
            let refusal = says(key, value).unwrap_err();
            assert_eq!(refusal.violations()[0].field, field, "{refusal}");
        }
    }

    #[test]
    fn labels_and_addresses_are_so_many_at_most() {
        let labels = (0..=labels::MOST).map(|n| (n.to_string(), String::new()));
        let ips = (0..=MOST_IPS).map(|n| format!("10.0.0.{n}"));
        let refusal = check(v1::Hello {
            labels: labels.collect(),
            ips: ips.collect(),
            ..wire()
        })
        .unwrap_err();
        let fields = refusal.violations().iter().map(|v| v.field.as_str());
        assert_eq!(fields.collect::<Vec<_>>(), ["ips", "labels"]);
    }
}

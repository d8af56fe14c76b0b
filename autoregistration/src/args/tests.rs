use super::*;

const REQUIRED: [&str; 9] = [
    "autoregistration",
    "--standalone",
    "d",
    "--trust-anchors",
    "a",
    "--tls-cert",
    "c",
    "--tls-key",
    "k",
];

fn parse<'a>(line: impl IntoIterator<Item = &'a &'a str>) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(line)
}

#[test]
fn the_defaults_are_those_of_the_walkthrough() {
    let args = parse(&REQUIRED).unwrap().args;
    assert_eq!(args.registration_listen.port(), 8081);
    assert_eq!(args.trust_domain.as_str(), "root.linkerd.cluster.local");
    assert_eq!(args.mesh.cluster_networks.len(), 5);
    assert_eq!(args.mesh.restore_window, Duration::from_secs(10));
}

#[test]
fn a_cluster_needs_nothing_but_itself_and_tls_its_files() {
    let line = parse(&["autoregistration"]).unwrap();
    assert_eq!(line.args.standalone, None);
    assert_eq!(line.args.cluster.identity, Identity::Sidecar);
    let tls = ["autoregistration", "--identity", "tls"];
    let files = ["--tls-cert", "c", "--tls-key", "k", "--trust-anchors", "a"];
    assert!(parse(tls.iter().chain(&files)).is_ok());
    for missing in [0, 2, 4] {
        let mut short = files.to_vec();
        short.drain(missing..missing + 2);
        assert!(parse(tls.iter().chain(&short)).is_err(), "{short:?}");
    }
}

#[test]
fn bad_values_are_refused() {
    for bad in [
        ["--service-cidr", "10.0.0.0/30"],
        ["--service-cidr", "127.0.0.0/8"],
        ["--service-cidr", "fd00::/64"],
        ["--restore-window", "10"],
        ["--restore-window", "-1s"],
        ["--default-inbound-policy", "open"],
        ["--cluster-domain", "a..b"],
        ["--linkerd-namespace", "a.b"],
        ["--cluster-networks", "10.0.0.0/8,x"],
        ["--policy-listen", "8090"],
        ["--disconnect-grace", "29s"],
        ["--default-access", "everybody"],
        // Of a cluster.
        ["--identity", "tls"],
        ["--peer-service", "peers"],
        ["--kubeconfig", "k"],
        ["--writes-per-second", "50"],
        ["--watch-namespaces", "training"],
    ] {
        assert!(parse(REQUIRED.iter().chain(&bad)).is_err(), "{bad:?}");
    }
    for bad in [
        ["--writes-per-second", "0"],
        ["--pod-ips", "10.0.0.1,x"],
        ["--identity", "header"],
        ["--watch-namespaces", "training,a.b"],
        ["--watch-namespaces", ""],
        // Without one.
        ["--service-cidr", "10.96.0.0/16"],
        ["--destination-listen", "0.0.0.0:8086"],
    ] {
        let line = ["autoregistration"].iter().chain(&bad);
        assert!(parse(line).is_err(), "{bad:?}");
    }
}

#[test]
fn definitions_are_printed_without_anything_that_running_needs() {
    let line = parse(&["autoregistration", "crds"]).unwrap();
    assert_eq!(line.command, Some(Command::Crds));
    assert!(parse(REQUIRED.iter().chain(&["crds"])).is_err());
    for missing in [3, 5, 7] {
        let mut short = REQUIRED.to_vec();
        short.drain(missing..missing + 2);
        assert!(parse(&short).is_err(), "{short:?}");
    }
}

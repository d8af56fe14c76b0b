mod anything;
mod editing;

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const MINIMAL: &str = r#"{
  "WorkloadGroup": {"Name": "training-vm", "Namespace": "training"},
  "Control": {
    "Address": "linkerd-autoregistration.linkerd.svc.cluster.local.:8081",
    "ServerId": "linkerd-autoregistration.linkerd.serviceaccount.identity.linkerd.cluster.local"
  }
}"#;

/// The minimal configuration with more keys.
fn with(json: &str) -> String {
    format!("{},\n{json}}}", MINIMAL.strip_suffix('}').unwrap())
}

fn parse_with(json: &str) -> Result<Config, Problems> {
    Config::parse(&with(json))
}

/// Every problem as `key: value what`, for comparing.
fn lines(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn four_keys_are_enough_and_the_rest_has_the_documented_defaults() {
    let config = Config::parse(MINIMAL).unwrap();
    assert_eq!(config.group.to_string(), "training/training-vm");
    assert_eq!(config.control.address.port(), 8081);
    assert_eq!(
        config.identity,
        Identity {
            spire_socket: "/tmp/spire-agent/public/api.sock".into(),
            spiffe_id: None,
            trust_anchors: None,
            backoff: Backoff {
                min: Duration::from_millis(100),
                max: Duration::from_secs(1),
                jitter_percent: 10,
            },
        }
    );
    assert_eq!(
        config.proxy,
        Proxy {
            path: "/var/lib/linkerd/bin/linkerd2-proxy".into(),
            user_id: None,
            inbound_listen: "0.0.0.0:4143".parse().unwrap(),
            outbound_listen: vec!["127.0.0.1:4140".parse().unwrap()],
            admin_listen: "127.0.0.1:4191".parse().unwrap(),
            log_level: "warn,linkerd=info,hickory=error".into(),
            shutdown_grace: Duration::from_secs(30),
            advertise: vec![],
        }
    );
    let ignored = vec!["4567".parse().unwrap(), "4568".parse().unwrap()];
    assert_eq!(
        config.redirect,
        Redirect {
            inbound_ports: vec![],
            inbound_ignore: ignored.clone(),
            outbound_ignore: ignored,
            subnets_ignore: vec![],
            subnets_redirect: vec![],
            ipv6: false,
            mode: Mode::Auto,
            failure_policy: FailurePolicy::Open,
        }
    );
    assert_eq!(config.admin_address, "127.0.0.1:4192".parse().unwrap());
    assert_eq!(config.dns.min_ttl, Duration::from_secs(10));
    assert_eq!(config.dns.max_ttl, Duration::from_secs(600));
    assert_eq!(config.log_level, "info");
    assert_eq!(config.log_format, LogFormat::Plain);
}

#[test]
fn every_documented_key_of_the_commercial_harness_is_understood() {
    let config = parse_with(
        r#""ProxyUserID": "997",
        "PortsToRedirect": ["80", 443, "8000-8100"],
        "SubnetsToIgnore": ["10.1.2.3/8", "192.0.2.1"],
        "InboundPortsToIgnore": ["22"], "OutboundPortsToIgnore": [],
        "IPv6": true, "IPTablesMode": "legacy",
        "InboundListenAddress": "[::]:4143",
        "OutboundListenAddresses": ["127.0.0.1:4140", "[::1]:4140"],
        "AdminAddress": "127.0.0.1:4192",
        "Identity": {"SpireSocketAddress": "unix:///run/spire.sock",
                     "Backoff": {"Min": "1s", "Max": "1m30s", "Jitter": "0.25"}},
        "Dns": {"MinTTL": "0", "MaxTTL": "1h", "ResolvConfPath": "/etc/resolv.conf"},
        "LogLevel": "info,identity=debug", "LogFormat": "json""#,
    )
    .unwrap();
    assert_eq!(config.proxy.user_id, Some(997));
    assert_eq!(config.redirect.inbound_ports.len(), 3);
    let subnets: Vec<_> = config
        .redirect
        .subnets_ignore
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(subnets, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(config.redirect.outbound_ignore, []);
    assert_eq!(config.redirect.mode, Mode::Legacy);
    assert_eq!(
        config.identity.spire_socket,
        PathBuf::from("/run/spire.sock")
    );
    assert_eq!(config.identity.backoff.max, Duration::from_secs(90));
    assert_eq!(config.identity.backoff.jitter_percent, 25);
    assert_eq!(config.dns.min_ttl, Duration::ZERO);
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn unset_fields_as_go_writes_them_mean_the_default() {
    let config = parse_with(
        r#""SubnetsToIgnore": null, "InboundPortsToIgnore": null, "Dns": {"ResolvConfPath": ""}, "Identity": null"#,
    );
    assert_eq!(config, Config::parse(MINIMAL));
}

#[test]
fn the_single_outbound_address_of_old_files_is_understood() {
    let config = parse_with(r#""OutboundListenAddress": "127.0.0.1:5140""#).unwrap();
    assert_eq!(
        config.proxy.outbound_listen,
        ["127.0.0.1:5140".parse().unwrap()]
    );
    let both =
        r#""OutboundListenAddress": "127.0.0.1:1", "OutboundListenAddresses": ["127.0.0.1:2"]"#;
    let found = lines(&parse_with(both).unwrap_err());
    assert_eq!(
        found,
        [
            "OutboundListenAddress: \"127.0.0.1:1\" is the old name of OutboundListenAddresses, which is set too"
        ]
    );
}

#[test]
fn ipv6_alone_gives_listeners_of_both_families() {
    let config = parse_with(r#""IPv6": true"#).unwrap();
    assert_eq!(config.proxy.inbound_listen, "[::]:4143".parse().unwrap());
    assert_eq!(config.proxy.outbound_listen.len(), 2);
}

#[test]
fn contradictions_are_refused() {
    for (json, key) in [
        (
            r#""Identity": {"Backoff": {"Min": "2s"}}"#,
            "Identity.Backoff.Min",
        ),
        (
            r#""Identity": {"Backoff": {"Min": "0"}}"#,
            "Identity.Backoff.Min",
        ),
        (r#""Dns": {"MinTTL": "1h"}"#, "Dns.MinTTL"),
        (
            r#""Dns": {"ResolvConfPath": "/run/resolv.conf"}"#,
            "Dns.ResolvConfPath",
        ),
        (
            r#""OutboundListenAddresses": ["127.0.0.1:1", "127.0.0.2:2"]"#,
            "OutboundListenAddresses",
        ),
        (
            r#""OutboundListenAddresses": ["127.0.0.1:1", "[::1]:1"]"#,
            "OutboundListenAddresses",
        ),
        (
            r#""IPv6": true, "OutboundListenAddresses": ["127.0.0.1:1"]"#,
            "OutboundListenAddresses",
        ),
        (
            r#""IPv6": true, "OutboundListenAddresses": ["[::1]:1"]"#,
            "OutboundListenAddresses",
        ),
        (
            r#""OutboundListenAddresses": []"#,
            "OutboundListenAddresses",
        ),
        (
            r#""InboundListenAddress": "[::]:4143""#,
            "InboundListenAddress",
        ),
        (
            r#""IPv6": true, "InboundListenAddress": "0.0.0.0:4143""#,
            "InboundListenAddress",
        ),
        (r#""InboundListenAddress": "0.0.0.0:4192""#, "AdminAddress"),
        (
            r#""ProxyAdminAddress": "127.0.0.1:4140""#,
            "ProxyAdminAddress",
        ),
        (r#""ShutdownGracePeriod": "5m1s""#, "ShutdownGracePeriod"),
        (r#""IPTablesMode": "ebtables""#, "IPTablesMode"),
        (r#""ProxyUserID": 0"#, "ProxyUserID"),
        (r#""PortsToRedirect": "80""#, "PortsToRedirect"),
    ] {
        let problems = parse_with(json).expect_err(json);
        let keys: Vec<_> = problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(keys, [key], "{json}: {problems}");
    }
}

#[test]
fn a_group_name_leaves_room_for_the_name_of_its_member() {
    let text = |length| MINIMAL.replace("training-vm", &"a".repeat(length));
    assert!(Config::parse(&text(52)).is_ok());
    let problems = Config::parse(&text(53)).unwrap_err();
    assert!(
        lines(&problems)[0].contains("is 53 characters long; at most 52"),
        "{problems}"
    );
}

#[test]
fn an_empty_file_lacks_exactly_the_required_keys() {
    let problems = Config::parse("").unwrap_err();
    assert!(problems.iter().all(Problem::is_missing));
    let missing: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    let required = KEYS.iter().filter(|key| key.required());
    assert_eq!(missing, required.map(|key| key.path).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_not_text_says_where() {
    let problems = Config::from_bytes(b"{\"a\": \xff}").unwrap_err();
    assert_eq!(lines(&problems), ["file: is not UTF-8 text, at byte 6"]);
}

#[test]
fn every_key_of_the_table_is_read_and_checked() {
    for key in KEYS {
        let text = edit(MINIMAL, &[(key.flag, "\u{1}")]).expect_err(key.path);
        assert!(
            text.iter().any(|problem| problem.key == key.path),
            "{}: {text}",
            key.path
        );
    }
}

#[test]
fn flags_are_the_kebab_case_of_their_keys_but_for_two_that_people_know() {
    let plain = |text: &str| text.replace(['-', '.'], "").to_lowercase();
    let others: Vec<_> = KEYS
        .iter()
        .filter(|key| plain(key.flag) != plain(key.path))
        .map(|key| key.flag)
        .collect();
    assert_eq!(others, ["control-plane-address", "control-plane-identity"]);
    let flags: BTreeSet<_> = KEYS.iter().map(|key| key.flag).collect();
    assert_eq!(flags.len(), KEYS.len());
}

#[test]
fn every_default_is_a_value_that_its_key_takes() {
    for key in KEYS {
        for ipv6 in ["true", "false"] {
            let default = key.default_text(ipv6 == "true").unwrap_or_default();
            let changes = [("ipv6", ipv6), (key.flag, default)];
            if key.required() || key.flag == "ipv6" {
                continue;
            }
            let text = edit(MINIMAL, &changes).unwrap_or_else(|problems| panic!("{problems}"));
            let defaults = edit(MINIMAL, &[("ipv6", ipv6)]).unwrap();
            assert_eq!(
                Config::parse(&text),
                Config::parse(&defaults),
                "{}",
                key.path
            );
        }
    }
}

#[test]
fn labels_are_those_that_kubernetes_takes_and_that_a_vm_may_set() {
    let labels = |list: &str| {
        let config = parse_with(&format!(r#""Workload": {{"Labels": {list}}}"#));
        config.map(|config| config.labels)
    };
    let zone = crate::labels::ZONE;
    assert_eq!(labels("[]").unwrap(), BTreeMap::new());
    assert_eq!(
        labels(&format!(
            r#"["example.com/rack=r7", "{zone}=eu-1", "empty="]"#
        ))
        .unwrap(),
        [("example.com/rack", "r7"), (zone, "eu-1"), ("empty", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    );
    let problems = labels(r#"["rack", "a b=c", "a=b c", "linkerd.io/x=y", "a=b", "a=c"]"#);
    let found = lines(&problems.unwrap_err());
    let said = |wanted: &str| found.iter().any(|line| line.contains(wanted));
    for wanted in [
        "is not a label (",
        "is not a key of a label",
        "is not a value of a label",
        "is reserved",
    ] {
        assert!(said(wanted), "{wanted}: {found:?}");
    }
    let twice = lines(&labels(r#"["a=b", "a=c"]"#).unwrap_err());
    assert!(twice[0].contains("`a` twice"), "{twice:?}");
    let many = |count: usize, value: &str| {
        let all = (0..count).map(|n| format!(r#""a{n}={value}""#));
        labels(&format!("[{}]", all.collect::<Vec<_>>().join(",")))
    };
    assert!(many(64, "b").is_ok());
    assert!(lines(&many(65, "b").unwrap_err())[0].contains("at most 64"));
    let long = (0..40).map(|n| format!(r#""{}.example/a{n}=b""#, "p".repeat(230)));
    let long = labels(&format!("[{}]", long.collect::<Vec<_>>().join(",")));
    assert!(lines(&long.unwrap_err())[0].contains("at most 8192"));
}

#[test]
fn settings_tell_where_each_value_comes_from() {
    let text = r#"{"LogLevel": "warn", "PortsToRedirect": ["80", 443], "IPv6": true}"#;
    let settings = settings(text).unwrap();
    let of = |path: &str| {
        let setting = settings
            .iter()
            .find(|setting| setting.key.path == path)
            .unwrap();
        (setting.value.as_str(), setting.source.as_str())
    };
    assert_eq!(of("LogLevel"), ("warn", "file"));
    assert_eq!(of("PortsToRedirect"), ("80,443", "file"));
    assert_eq!(of("InboundListenAddress"), ("[::]:4143", "default"));
    assert_eq!(
        of("ProxyUserID"),
        ("(uid of the user proxyharness)", "default")
    );
    assert_eq!(of("Control.Address"), ("", "missing"));
    assert_eq!(settings.len(), KEYS.len());
}

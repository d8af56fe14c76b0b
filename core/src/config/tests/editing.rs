//! Changes of some keys of a file.

use super::*;

#[test]
fn an_edit_changes_its_keys_and_nothing_else() {
    let before = "{\"LogLevel\": \"warn\", \"Control\": {\"ServerId\": \"a.b\"}, \"IPv6\": false}";
    let after = edit(
        before,
        &[
            ("--control-plane-address", "a.b.:1"),
            ("--log-level", "debug"),
            ("--proxy-user-id", "997"),
            ("--ports-to-redirect", "80, 443,8000-8100"),
            ("--identity-backoff-jitter", "0.2"),
        ],
    )
    .unwrap();
    let expected = r#"{
  "LogLevel": "debug",
  "Control": {
    "ServerId": "a.b",
    "Address": "a.b.:1"
  },
  "IPv6": false,
  "ProxyUserID": 997,
  "PortsToRedirect": [
    "80",
    "443",
    "8000-8100"
  ],
  "Identity": {
    "Backoff": {
      "Jitter": 0.2
    }
  }
}
"#;
    assert_eq!(after, expected);
    let reset = edit(
        &after,
        &[("ports-to-redirect", ""), ("identity-backoff-jitter", "")],
    )
    .unwrap();
    assert!(
        !reset.contains("PortsToRedirect") && !reset.contains("Identity"),
        "{reset}"
    );
}

#[test]
fn a_new_outbound_list_takes_the_place_of_the_old_single_address() {
    let before = with(r#""OutboundListenAddress": "127.0.0.1:5140""#);
    let after = edit(&before, &[("outbound-listen-addresses", "127.0.0.1:6140")]).unwrap();
    assert!(!after.contains("OutboundListenAddress\""), "{after}");
    let reset = edit(&before, &[("outbound-listen-addresses", "")]).unwrap();
    assert_eq!(Config::parse(&reset), Config::parse(MINIMAL));
}

#[test]
fn an_edit_may_leave_required_keys_for_later_but_not_empty_them() {
    assert!(edit("", &[("workload-group-name", "vm")]).is_ok());
    let problems = edit(MINIMAL, &[("workload-group-name", "")]).unwrap_err();
    assert!(
        lines(&problems)
            .iter()
            .all(|line| line == "WorkloadGroup.Name: \"\" is empty"),
        "{problems}"
    );
    assert_eq!(problems.iter().count(), 1, "{problems}");
}

use serde_json::Value;

use crate::support::Host;

#[test]
fn each_key_is_shown_with_its_value_and_source() {
    let host = Host::configured();
    let shown = host.run(&["get-config"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines: Vec<_> = shown.stdout.lines().map(words).collect();
    assert!(
        lines.contains(&words("WorkloadGroup.Name training-vm file")),
        "{}",
        shown.stdout
    );
    assert!(
        lines.contains(&words("InboundPortsToIgnore 4567,4568 default")),
        "{}",
        shown.stdout
    );
    assert!(
        lines.contains(&words("PortsToRedirect - default")),
        "{}",
        shown.stdout
    );
}

#[test]
fn json_has_a_value_and_a_source_for_each_key() {
    let host = Host::configured();
    let shown = host.run(&["--output=json", "get-config"]);
    let json: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(json["WorkloadGroup.Name"]["value"], "training-vm");
    assert_eq!(json["WorkloadGroup.Name"]["source"], "file");
    assert_eq!(json["LogLevel"]["source"], "default");
    assert_eq!(json["ProxyUserID"]["value"], Value::Null);
}

#[test]
fn without_a_file_the_defaults_are_shown_and_the_missing_keys_named() {
    let host = Host::empty();
    let shown = host.run(&["get-config"]);
    assert_eq!(shown.code, 78);
    assert!(shown.stdout.contains("127.0.0.1:4192"), "{}", shown.stdout);
    assert!(
        shown.stderr.contains("does not exist\nerror: 4 problems"),
        "{}",
        shown.stderr
    );
}

#[test]
fn wrong_values_are_shown_and_explained() {
    let host = Host::empty();
    host.write("{\"LogLevel\": \"lo\\u001bud\"}");
    let shown = host.run(&["get-config"]);
    assert_eq!(shown.code, 78);
    assert!(
        shown.stdout.contains("lo ud"),
        "control characters must not reach the terminal"
    );
    assert!(
        shown
            .stderr
            .contains("LogLevel: \"lo\\u001bud\" is not a log filter"),
        "{}",
        shown.stderr
    );
}

use linkerd_harness_core::config::KEYS;

use crate::support::Host;

#[test]
fn help_and_version_are_data_and_succeed() {
    let host = Host::empty();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["set-config", "--help"],
        &["help", "wait"],
    ] {
        let shown = host.run(arguments);
        assert_eq!(
            (shown.code, shown.stderr.as_str()),
            (0, ""),
            "{arguments:?}"
        );
        assert!(!shown.stdout.is_empty());
    }
}

#[test]
fn every_key_has_its_flag_in_the_help_and_in_the_completions() {
    let host = Host::empty();
    let help = host.run(&["set-config", "--help"]).stdout;
    for shell in ["bash", "zsh", "fish"] {
        let script = host.run(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""));
        for key in KEYS {
            assert!(script.stdout.contains(key.flag), "{shell}: {}", key.flag);
            assert!(help.contains(&format!("--{} <", key.flag)), "{}", key.flag);
        }
    }
}

#[test]
fn a_wrong_command_line_names_the_near_miss() {
    let host = Host::empty();
    for (arguments, near) in [
        (&["statsu"][..], "status"),
        (&["wait", "--timout=1s"], "--timeout"),
        (&["status", "--ouptut=json"], "--output"),
    ] {
        let shown = host.run(arguments);
        assert_eq!(
            (shown.code, shown.stdout.as_str()),
            (64, ""),
            "{arguments:?}"
        );
        assert!(shown.stderr.contains(near), "{}", shown.stderr);
    }
}

#[test]
fn setting_nothing_is_a_wrong_command_line() {
    let shown = Host::empty().run(&["set-config"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (64, ""));
    assert!(shown.stderr.contains("no key to set"), "{}", shown.stderr);
}

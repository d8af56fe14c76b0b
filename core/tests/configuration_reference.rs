//! `docs/configuration.md` says what the key table says. `UPDATE_GOLDEN=1 cargo test` writes it.

use std::fs;
use std::path::Path;

use linkerd_harness_core::config::{Fallback, KEYS, Key, PATH};

#[test]
fn the_reference_of_the_configuration_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let actual = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &actual).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == actual,
        "{} is out of date: UPDATE_GOLDEN=1 cargo test",
        path.display()
    );
}

fn reference() -> String {
    let mut text = format!(
        "# Configuration\n\n\
         The daemon reads `{PATH}`, a JSON object. A dot in a\n\
         key is a nested object: `Control.Address` is `{{\"Control\": {{\"Address\": …}}}}`. `sudo harnessctl set-config` sets keys by their flags, all of them or none;\n\
         an empty value takes a key out. `harnessctl get-config` shows what holds. The daemon takes a change when it\n\
         is restarted; what it does not understand it refuses, with every problem at once.\n\n\
         | Key | Flag | Default | What it is |\n|---|---|---|---|\n"
    );
    let rows = KEYS.iter().map(|key| {
        let (path, usage, default, help) = (key.path, usage(key), default(key), key.help);
        format!("| `{path}` | `{usage}` | {default} | {help} |\n")
    });
    text.extend(rows);
    text.push_str(
        "\nDurations are whole numbers with units, `100ms`, `10s`, `1m30s`, `1h`. Ports are numbers or ranges,\n\
         `8000-8100`. Networks are `10.0.0.0/8`; a bare address is a network of one. Lists are JSON arrays, and\n\
         separated by commas on the command line. `null` means: not set.\n\n\
         `OutboundListenAddress`, one address, is the old form of `OutboundListenAddresses` and still understood.\n",
    );
    text
}

/// A bar would end the cell.
fn usage(key: &Key) -> String {
    key.usage().replace('|', "\\|")
}

fn default(key: &Key) -> String {
    match key.fallback {
        Fallback::Required => "required".to_owned(),
        Fallback::Value("") => "none".to_owned(),
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::ByFamily { ipv4, both } => format!("`{ipv4}`; with `IPv6` `{both}`"),
        Fallback::Computed(how) => how.to_owned(),
    }
}

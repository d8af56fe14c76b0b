//! What people read when a configuration is wrong. `UPDATE_GOLDEN=1 cargo test` writes the texts anew; review the diff.

use std::fs;
use std::path::Path;

use linkerd_harness_core::config::Config;

#[test]
fn wrong_configurations_are_explained_as_in_the_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "cfg") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let problems =
            Config::from_bytes(&bytes).expect_err("a golden configuration must be wrong");
        let actual = format!("{problems}\n");
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &actual).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(actual, expected, "{}", golden.display());
        seen += 1;
    }
    assert!(seen >= 7, "golden files are gone: only {seen} left");
}

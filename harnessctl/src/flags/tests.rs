//! The man pages and completions in `packaging` say what the program takes. `UPDATE_GOLDEN=1 cargo test` writes them.

use std::path::{Path, PathBuf};

use clap_complete::Shell;

use super::*;

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(name)
}

fn assert_same(name: &str, actual: &[u8]) {
    let path = packaged(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let written = std::fs::read(&path).unwrap_or_default();
    assert!(
        written == actual,
        "{} is out of date: UPDATE_GOLDEN=1 cargo test -p harnessctl",
        path.display()
    );
}

#[test]
fn man_pages_are_up_to_date() {
    let mut command = command();
    command.build();
    let mut pages = vec![command.clone()];
    let own = |command: &Command| -> Vec<Command> {
        let verbs = command.get_subcommands();
        verbs
            .filter(|verb| verb.get_name() != "help")
            .cloned()
            .collect()
    };
    for verb in own(&command) {
        pages.extend(own(&verb));
        pages.push(verb);
    }
    for page in pages {
        // Built commands know their whole name: `harnessctl set-config`, page harnessctl-set-config.
        let name = page.get_display_name().unwrap_or("harnessctl").to_owned();
        let mut text = Vec::new();
        let man = clap_mangen::Man::new(page).title(name.clone()).date("");
        man.render(&mut text).unwrap();
        assert_same(&format!("man/{name}.1"), &text);
    }
}

#[test]
fn completions_are_up_to_date() {
    for (shell, name) in [
        (Shell::Bash, "harnessctl.bash"),
        (Shell::Zsh, "_harnessctl"),
        (Shell::Fish, "harnessctl.fish"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(), "harnessctl", &mut script);
        assert_same(&format!("completions/{name}"), &script);
    }
}

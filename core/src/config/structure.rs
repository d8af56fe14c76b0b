//! The shape of the document: unknown keys, keys that appear twice, sections that are none.

use super::key::Key;
use super::keys::KEYS;
use super::near;
use super::node::Node;
use super::problem::Problem;

/// Everything wrong with the names of a document.
pub(super) fn problems(document: &Node) -> Vec<Problem> {
    let mut found = Vec::new();
    section("", document, &mut found);
    for key in KEYS {
        let Some(old) = key.old_path else { continue };
        if document.at(key.path).is_some() && document.at(old).is_some() {
            let wrong = format!("is the old name of {}, which is set too", key.path);
            found.push(Problem::new(
                old,
                document.at(old),
                wrong,
                format!("remove {old}"),
            ));
        }
    }
    found
}

fn section(prefix: &str, node: &Node, found: &mut Vec<Problem>) {
    let Node::Object(entries) = node else {
        let wrong = "is not a JSON object";
        let remedy = format!("write \"{prefix}\": {{ ... }}");
        found.push(Problem::new(prefix, Some(node), wrong, remedy));
        return;
    };
    for (index, (name, value)) in entries.iter().enumerate() {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        if entries
            .iter()
            .take(index)
            .any(|(earlier, _)| earlier == name)
        {
            let wrong = "appears a second time";
            found.push(Problem::new(
                &path,
                Some(value),
                wrong,
                "remove one of the two",
            ));
        } else if is_section(&path) && !name.contains('.') {
            if *value != Node::Null {
                section(&path, value, found);
            }
        } else if !is_key(&path) || name.contains('.') {
            found.push(unknown(&path));
        }
    }
}

fn unknown(path: &str) -> Problem {
    let remedy = match near::path(path) {
        // A name with dots in it is right but for its place.
        Some(near) if near == path => format!("write {near} as nested objects"),
        Some(near) => format!("did you mean {near}?"),
        None => "remove it; harnessctl set-config --help lists the keys".to_owned(),
    };
    Problem::new(path, None, "is not a key", remedy)
}

fn is_key(path: &str) -> bool {
    let names = |key: &&Key| key.path == path || key.old_path == Some(path);
    KEYS.iter().any(names)
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

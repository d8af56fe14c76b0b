//! Changes keys in the text of a configuration and leaves the rest of it as it was.

use super::build;
use super::key::{Key, Kind};
use super::keys::KEYS;
use super::near;
use super::node::Node;
use super::problem::{Problem, Problems};
use super::reader::items;

/// Sets keys by their flags (with or without the dashes) and answers the new text.
///
/// Keys that are not named stay, in their order; a text without content is an empty configuration. An empty value takes
/// a key out, so that its default holds. The result may still lack required keys, so that they can be set one after
/// another; everything else that [`super::Config::parse`] refuses is refused here.
pub fn edit(text: &str, changes: &[(&str, &str)]) -> Result<String, Problems> {
    let mut found = Vec::new();
    let mut document = Node::document(text)?;
    for (flag, value) in changes {
        let flag = flag.trim_start_matches('-');
        match KEYS.iter().find(|key| key.flag == flag) {
            Some(key) => set(&mut document, key, value.trim(), &mut found),
            None => found.push(unknown(flag)),
        }
    }
    if let Err(problems) = build::config(&document) {
        let stays = |problem: &&Problem| !problem.is_missing();
        found.extend(problems.iter().filter(stays).cloned());
    }
    Problems::some(found).map_or_else(|| Ok(document.pretty()), Err)
}

fn unknown(flag: &str) -> Problem {
    let remedy = near::flag(flag).map_or_else(
        || "harnessctl set-config --help lists the flags".to_owned(),
        |near| format!("did you mean --{near}?"),
    );
    Problem::new(format!("--{flag}"), None, "is not a flag", remedy)
}

fn set(document: &mut Node, key: &Key, value: &str, found: &mut Vec<Problem>) {
    if let Some(old) = key.old_path {
        remove(document, old);
    }
    if !value.is_empty() {
        put(document, key.path, node(key, value));
    } else if key.required() {
        found.push(Problem::of_value(
            key,
            Some(&Node::Text(String::new())),
            "is empty",
        ));
    } else {
        remove(document, key.path);
    }
}

/// The value as this key is customarily written in JSON; whether it is right is found out when the whole is checked.
fn node(key: &Key, value: &str) -> Node {
    let text = || Node::Text(value.to_owned());
    if key.list {
        return Node::List(
            items(value)
                .map(|item| Node::Text(item.to_owned()))
                .collect(),
        );
    }
    match key.kind {
        Kind::Bool => value.parse().map_or_else(|_| text(), Node::Bool),
        Kind::UserId => value
            .parse::<u32>()
            .map_or_else(|_| text(), |id| Node::Number(id.into())),
        Kind::Fraction => value
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or_else(text, Node::Number),
        _ => text(),
    }
}

/// Puts a value under a path. A section that is not an object is left alone: the check of the whole names it.
fn put(node: &mut Node, path: &str, value: Node) {
    let (name, rest) = split(path);
    if *node == Node::Null {
        *node = Node::Object(Vec::new());
    }
    let Node::Object(entries) = node else { return };
    let index = entries
        .iter()
        .position(|(key, _)| key == name)
        .unwrap_or_else(|| {
            entries.push((name.to_owned(), Node::Null));
            entries.len() - 1
        });
    match rest {
        Some(rest) => put(&mut entries[index].1, rest, value),
        None => entries[index].1 = value,
    }
}

/// Takes a path out, and sections that are empty then.
fn remove(node: &mut Node, path: &str) {
    let (name, rest) = split(path);
    let Node::Object(entries) = node else { return };
    let Some(index) = entries.iter().position(|(key, _)| key == name) else {
        return;
    };
    if let Some(rest) = rest {
        remove(&mut entries[index].1, rest);
        if entries[index].1 != Node::Object(Vec::new()) {
            return;
        }
    }
    entries.remove(index);
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)))
}

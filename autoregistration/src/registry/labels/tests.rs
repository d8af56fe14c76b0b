use proptest::prelude::*;

use super::*;
use crate::registry::tests::{VM, hello_with};

fn group(set: &[(&str, &str)], allowed: &[&str]) -> Group {
    Group {
        labels: labels(set),
        allowed_labels: allowed.iter().map(|key| key.parse().unwrap()).collect(),
        ..Group::default()
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn the_group_wins_and_a_vm_sets_what_is_allowed() {
    let group = group(&[("app", "web")], &["rack", "example.com/*", "app"]);
    let hello = hello_with(
        &VM,
        &[
            ("app", "db"),
            ("rack", "r7"),
            ("example.com/row", "3"),
            ("tier", "back"),
            ("linkerd.io/control-plane-ns", "linkerd"),
        ],
        "eu-1",
    );
    let expected = [
        ("app", "web"),
        ("rack", "r7"),
        ("example.com/row", "3"),
        (ZONE, "eu-1"),
    ];
    assert_eq!(of(&group, &hello), labels(&expected));
    let warnings = warnings(&group, &hello);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (warning, key) in warnings.iter().zip(["linkerd.io/", "`app`", "`tier`"]) {
        assert!(warning.contains(key), "{warning}");
    }
}

#[test]
fn the_same_value_as_the_group_s_is_nothing_to_warn_of() {
    let group = group(&[("app", "web")], &[]);
    assert_eq!(
        warnings(&group, &hello_with(&VM, &[("app", "web")], "")),
        [""; 0]
    );
}

#[test]
fn the_zone_of_the_template_wins() {
    let group = group(&[(ZONE, "eu-2")], &[]);
    let hello = hello_with(&VM, &[], "eu-1");
    assert_eq!(of(&group, &hello), labels(&[(ZONE, "eu-2")]));
}

#[test]
fn a_warning_does_not_name_all_of_many_keys() {
    let many = (0..64).map(|n| (format!("k{n}"), "v")).collect::<Vec<_>>();
    let many = many.iter().map(|(key, value)| (key.as_str(), *value));
    let hello = hello_with(&VM, &many.collect::<Vec<_>>(), "");
    let said = warnings(&group(&[], &[]), &hello);
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("and 56 more are not taken"), "{}", said[0]);
}

#[test]
fn a_vm_that_is_away_keeps_what_it_may_set() {
    let before = labels(&[
        ("app", "web"),
        ("rack", "r7"),
        ("tier", "back"),
        (ZONE, "z"),
    ]);
    let group = group(&[("app", "shop")], &["rack"]);
    let expected = labels(&[("app", "shop"), ("rack", "r7"), (ZONE, "z")]);
    assert_eq!(kept(&group, &before), expected);
}

fn any_labels() -> impl Strategy<Value = Labels> {
    let key = proptest::sample::select(vec![
        "app",
        "rack",
        "example.com/a",
        "example.com/b",
        "linkerd.io/a",
        "meshexpansion.io/group",
        ZONE,
    ]);
    proptest::collection::btree_map(key.prop_map(str::to_owned), "[a-c]", 0..6)
}

fn any_group() -> impl Strategy<Value = Group> {
    let allowed = vec!["app", "rack", "example.com/*", "example.com/b"];
    (any_labels(), proptest::sample::subsequence(allowed, 0..4)).prop_map(|(labels, allowed)| {
        Group {
            labels,
            ..group(&[], &allowed)
        }
    })
}

proptest! {
    #[test]
    fn whatever_a_vm_says_the_template_stands_and_nothing_else_comes_in(
        group in any_group(),
        said in any_labels(),
    ) {
        let pairs = said.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let hello = hello_with(&VM, &pairs.collect::<Vec<_>>(), "");
        let made = of(&group, &hello);
        for (key, value) in &group.labels {
            prop_assert_eq!(made.get(key), Some(value));
        }
        for (key, value) in &made {
            let of_group = group.labels.contains_key(key);
            prop_assert!(of_group || (may_set(&group, key) && said.get(key) == Some(value)));
        }
        // Each is either taken or told of.
        let told = warnings(&group, &hello).join(" ");
        for (key, value) in &said {
            let quoted = format!("`{key}`");
            prop_assert_ne!(made.get(key) == Some(value) && !is_reserved(key), told.contains(&quoted), "{}: {}", key, told);
        }
        // It is as the group describes it, and stays so while its VM is away.
        prop_assert!(are_of(&group, &made));
        prop_assert_eq!(kept(&group, &made), made);
    }
}

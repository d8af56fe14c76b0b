use proptest::prelude::*;

use super::*;

#[test]
fn keys_and_values_are_those_of_kubernetes() {
    let (prefix, name) = ("p".repeat(253), "n".repeat(63));
    let longest = format!("{prefix}/{name}");
    for good in ["rack", "a", "A.b_c-9", "example.com/rack", "9/9", &longest] {
        assert!(is_key(good), "{good}");
    }
    let (long_prefix, long_name) = (format!("p{prefix}/n"), format!("n{name}"));
    for bad in [
        "",
        "/",
        "/rack",
        "example.com/",
        "a/b/c",
        "-a",
        "a-",
        "a b",
        "ä",
        "Example.com/rack",
        "exa_mple.com/rack",
        ".com/rack",
        "example..com/rack",
        "example.com./rack",
        "-a.com/rack",
        "example.com/*",
        "*",
        &long_prefix,
        &long_name,
    ] {
        assert!(!is_key(bad), "{bad}");
    }
    for good in ["", "r7", "1.2_3-4", &name] {
        assert!(is_value(good), "{good}");
    }
    for bad in ["-", "r7.", "a b", "a/b", "a=b", "é", &long_name] {
        assert!(!is_value(bad), "{bad}");
    }
}

#[test]
fn what_means_something_to_kubernetes_linkerd_or_us_is_reserved() {
    for reserved in [
        ZONE,
        "kubernetes.io/hostname",
        "linkerd.io/control-plane-ns",
        "config.linkerd.io/opaque-ports",
        "meshexpansion.io/group",
        "app.k8s.io/name",
    ] {
        assert!(is_reserved(reserved), "{reserved}");
        assert_eq!(reserved.parse::<KeyPattern>(), Err(Invalid::Reserved));
        let expected = if reserved == ZONE {
            None
        } else {
            Some(Invalid::Reserved)
        };
        assert_eq!(format!("{reserved}=x").parse::<Label>().err(), expected);
    }
    for free in [
        "kubernetes.io",
        "notlinkerd.io/a",
        "linkerd.io.example.com/a",
    ] {
        assert!(!is_reserved(free), "{free}");
    }
    for pattern in ["linkerd.io/*", "x.linkerd.io/*", "kubernetes.io/*"] {
        assert_eq!(pattern.parse::<KeyPattern>(), Err(Invalid::Reserved));
    }
}

#[test]
fn a_pattern_is_one_key_or_all_with_a_prefix() {
    let matches = |pattern: &str, key: &str| pattern.parse::<KeyPattern>().unwrap().matches(key);
    assert!(matches("rack", "rack"));
    assert!(!matches("rack", "rack2"));
    assert!(!matches("rack", "example.com/rack"));
    assert!(matches("example.com/*", "example.com/rack"));
    assert!(!matches("example.com/*", "x.example.com/rack"));
    assert!(!matches("example.com/*", "example.com"));
    assert!(!matches("example.com/*", "example.community/rack"));
    for bad in [
        "",
        "*",
        "/*",
        "rack*",
        "example.com/r*",
        "example.com/*/*",
        "*/rack",
        "*.com/*",
    ] {
        assert_eq!(bad.parse::<KeyPattern>(), Err(Invalid::Key), "{bad}");
    }
}

/// Keys, some of them reserved.
fn any_key() -> impl Strategy<Value = String> {
    "([a-z0-9]{1,3}(\\.(io|linkerd|kubernetes|com)){0,2}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?"
}

proptest! {
    #[test]
    fn no_text_is_more_than_one_of_the_grammar(text in "[a-zA-Z0-9._/=*-]{0,24}|.{0,80}") {
        if let Ok(label) = text.parse::<Label>() {
            prop_assert!(is_key(&label.key) && is_value(&label.value));
            prop_assert_eq!(format!("{}={}", label.key, label.value), text.clone());
        }
        if let Ok(pattern) = text.parse::<KeyPattern>() {
            prop_assert_eq!(pattern.to_string(), text.clone());
            prop_assert!(pattern.matches(&text.replace('*', "x")));
        }
    }

    #[test]
    fn no_pattern_allows_what_is_reserved(pattern in any_key(), all in any::<bool>(), key in any_key()) {
        prop_assert!(is_key(&key), "{}", key);
        let pattern = match pattern.split_once('/') {
            Some((prefix, _)) if all => format!("{prefix}/*"),
            _ => pattern,
        };
        if let Ok(pattern) = pattern.parse::<KeyPattern>() {
            prop_assert!(!(pattern.matches(&key) && is_reserved(&key)), "{pattern} allows {key}");
        }
    }
}

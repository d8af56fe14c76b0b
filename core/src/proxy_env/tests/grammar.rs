//! How the proxy reads values.

use std::time::Duration;

use proptest::prelude::*;

use super::super::grammar::parse_duration;
use super::*;

#[test]
fn durations_are_read_as_the_proxy_reads_them() {
    for good in ["0", "0s", "100ms", "30s", "5m", "1h", "2d", " 5s\t"] {
        assert!(Grammar::Duration.accepts(good), "{good}");
    }
    for bad in [
        "",
        "1",
        "1.5s",
        ".5s",
        "1 s",
        "+1s",
        "-1s",
        "1y",
        "1S",
        "18446744073709551615d",
    ] {
        assert!(!Grammar::Duration.accepts(bad), "{bad}");
    }
}

#[test]
fn names_and_addresses_are_read_as_the_proxy_reads_them() {
    for (grammar, good, bad) in [
        (Grammar::Name, "a.b.", "10.0.0.1"),
        (Grammar::Name, "a_b.c", "spiffe://a/b"),
        (Grammar::Address, "10.0.0.1:80", "10.0.0.555:80"),
        (Grammar::Address, "[::1]:80", "::1:80"),
        (Grammar::Address, "a.b.:80", "a.b."),
        (Grammar::Ports, "80, 443,,1000-2000", "80-79"),
        (Grammar::Ports, "", "http"),
        (Grammar::SpiffeId, "spiffe://a.b/c/d", "spiffe://a.b"),
        (Grammar::SpiffeId, "spiffe://a/b", "spiffe://a//b"),
        (Grammar::Policy, "audit", "Audit"),
        (Grammar::Ratio, "0.5", "0"),
        (Grammar::Bool, "true", "True"),
        (Grammar::Suffixes, "svc.cluster.local., .", "a b"),
        (Grammar::Window, "2147483647", "2147483648"),
        (Grammar::FrameSize, "16384", "16383"),
        (Grammar::FrameSize, "16777215", "16777216"),
    ] {
        assert!(grammar.accepts(good), "{good} should be {grammar}");
        assert!(!grammar.accepts(bad), "{bad} should not be {grammar}");
    }
}

proptest! {
    #[test]
    fn durations_render_in_the_proxys_grammar(seconds in any::<u64>(), nanos in 0u32..1_000_000_000) {
        let value = Duration::new(seconds, nanos);
        let text = duration(value);
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        prop_assert!(digits.bytes().all(|b| b.is_ascii_digit()), "{}", text);
        let unit = text.strip_prefix(digits).unwrap();
        prop_assert!(matches!(unit, "ms" | "s"), "{}", text);
        let read = parse_duration(&text).unwrap();
        prop_assert!(read.abs_diff(value) < Duration::from_secs(1));
        if seconds < u64::MAX / 1000 - 1 {
            prop_assert!(read >= value, "{} is shorter than {:?}", text, value);
            prop_assert!(read.abs_diff(value) < Duration::from_millis(1), "{} for {:?}", text, value);
        }
    }
}

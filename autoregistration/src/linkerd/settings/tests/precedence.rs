//! Whatever stands on a namespace and a group: which of them counts, and that nothing else is touched by it.

use proptest::prelude::*;

use super::*;

/// Annotations that set one variable: its name, what each level says, and what comes of that.
const SAMPLES: &[(&str, &str, [&str; 3], [&str; 3])] = &[
    (LOG, "LOG", ["c", "n", "g"], ["c", "n", "g"]),
    (
        TIMEOUT,
        "OUTBOUND_CONNECT_TIMEOUT",
        ["1s", "2s", "3s"],
        ["1s", "2000ms", "3000ms"],
    ),
    (
        "config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout",
        "INBOUND_DISCOVERY_IDLE_TIMEOUT",
        ["1s", "2s", "3s"],
        ["1s", "2s", "3s"],
    ),
    (
        "config.linkerd.io/proxy-cpu-limit",
        "CORES_MAX",
        ["1", "2", "3"],
        ["1", "2", "3"],
    ),
];
const CONFIG: &str = "{proxy: {logLevel: c, outboundConnectTimeout: 1s, \
     inboundDiscoveryCacheUnusedTimeout: 1s, runtime: {workers: {maximum: 1}}}}";
const BAD: &str = "\0";

#[derive(Clone, Copy, Debug)]
enum Level {
    Absent,
    Good,
    Bad,
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::Absent), Just(Level::Good), Just(Level::Bad)]
}

proptest! {
    #[test]
    fn the_nearest_annotation_counts_and_a_bad_one_leaves_the_configuration(
        levels in proptest::collection::vec((level(), level()), SAMPLES.len()),
    ) {
        let said = |of: fn(&(Level, Level)) -> Level, index: usize| {
            let samples = SAMPLES.iter().zip(&levels);
            samples
                .filter_map(|((name, _, values, _), levels)| match of(levels) {
                    Level::Absent => None,
                    Level::Good => Some((*name, values[index])),
                    Level::Bad => Some((*name, BAD)),
                })
                .collect::<Vec<_>>()
        };
        let merged = settings(CONFIG, &said(|l| l.0, 1)).merge(&group(&said(|l| l.1, 2)));
        let mut bad = 0;
        for ((_, name, _, results), (namespace, own)) in SAMPLES.iter().zip(&levels) {
            let expected = match (own, namespace) {
                (Level::Good, _) => results[2],
                (Level::Absent, Level::Good) => results[1],
                (Level::Absent, Level::Absent) => results[0],
                (Level::Bad, _) | (Level::Absent, Level::Bad) => {
                    bad += 1;
                    results[0]
                }
            };
            prop_assert_eq!(variable(&merged, name), Some(expected.to_owned()), "{}", name);
        }
        prop_assert_eq!(merged.problems.len(), bad);
    }

    #[test]
    fn nothing_that_people_write_gives_a_variable_that_the_harness_would_drop(
        picks in proptest::collection::vec(
            (0..ALL.len(), "[a-z0-9,.:=-]{0,12}|true|2s|500m|.{0,20}"),
            0..12,
        ),
        on_group in any::<bool>(),
    ) {
        let pairs: Vec<_> = picks
            .iter()
            .map(|(index, value)| (ALL[*index].name, value.as_str()))
            .collect();
        let (namespace, own) = if on_group { (vec![], pairs) } else { (pairs, vec![]) };
        let merged = settings("{}", &namespace).merge(&group(&own));
        prop_assert_eq!(agreement::environment(&merged.proxy).unwrap().ignored, []);
    }
}

//! Texts of every kind.

use proptest::prelude::*;

use super::*;

/// A JSON text with known and unknown keys, right and wrong values.
fn any_document() -> impl Strategy<Value = String> {
    let paths: Vec<_> = KEYS.iter().map(|key| key.path).collect();
    let values = [
        "\"80\"",
        "80",
        "[\"80\"]",
        "true",
        "null",
        "{}",
        "\"1s\"",
        "\"127.0.0.1:1\"",
        "\"info\"",
        "[]",
    ];
    let entry = (
        proptest::sample::select(paths),
        proptest::sample::select(values.to_vec()),
    );
    proptest::collection::vec(entry, 0..8).prop_map(|entries| {
        let mut text = String::from("{");
        for (index, (path, value)) in entries.iter().enumerate() {
            let names: Vec<_> = path
                .split('.')
                .map(|name| format!("\"{name}\": "))
                .collect();
            let comma = if index == 0 { "" } else { "," };
            text.push_str(comma);
            text.push_str(&names.join("{"));
            text.push_str(value);
            text.push_str(&"}".repeat(path.matches('.').count()));
        }
        text + "}"
    })
}

fn any_flag() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(KEYS.iter().map(|key| key.flag).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn parsing_never_panics(text in ".{0,200}") {
        prop_assert!(Config::parse(&text).is_err() || settings(&text).is_ok());
    }

    #[test]
    fn values_never_panic(flag in any_flag(), value in ".{0,60}") {
        if let Ok(text) = edit(MINIMAL, &[(flag, &value)]) {
            prop_assert!(Config::parse(&text).is_ok());
        }
    }

    #[test]
    fn documents_of_every_shape_are_taken_or_refused(text in any_document()) {
        let shown = settings(&text).unwrap();
        let missing = shown.iter().any(|setting| setting.source == Source::Missing);
        prop_assert!(Config::parse(&text).is_err() || !missing);
    }

    #[test]
    fn an_edit_of_an_edit_is_the_same_and_resetting_takes_it_back(
        flag in any_flag(),
        value in "[0-9a-z.:/,-]{1,24}|true|127\\.0\\.0\\.1:[1-9][0-9]{0,3}|[1-9]s",
    ) {
        let base = edit(MINIMAL, &[]).unwrap();
        if let Ok(once) = edit(&base, &[(flag, &value)]) {
            Config::parse(&once).unwrap();
            prop_assert_eq!(&edit(&once, &[(flag, &value)]).unwrap(), &once);
            if let Ok(back) = edit(&once, &[(flag, "")]) {
                prop_assert_eq!(back, base);
            }
        }
    }

    #[test]
    fn durations_are_read_as_written(hours in 0u64..100, minutes in 0u64..60, seconds in 0u64..60, millis in 0u64..1000) {
        let text = format!("{hours}h{minutes}m{seconds}s{millis}ms");
        let expected = Duration::from_millis(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis);
        prop_assert_eq!(duration(&text), Ok(expected));
    }
}

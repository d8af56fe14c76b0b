//! Values as the injector reads them: by the rules of Go's standard library and of Kubernetes' quantities.

use std::time::Duration;

/// `strconv.ParseBool`.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{}` is neither true nor false", shown(text))),
    }
}

/// `time.ParseDuration`, but nothing below zero: `300ms`, `1.5s`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let problem = || {
        format!(
            "`{}` is not a duration (for example 300ms, 1.5s or 1h30m)",
            shown(text)
        )
    };
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(problem());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (part, after) = part(rest).ok_or_else(problem)?;
        nanos = nanos.checked_add(part).ok_or_else(problem)?;
        rest = after;
    }
    // Go counts nanoseconds in 63 bits: 292 years.
    let nanos = i64::try_from(nanos).map_err(|_too_long| problem())?;
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

/// One number with its unit, in nanoseconds, and what follows.
fn part(text: &str) -> Option<(u128, &str)> {
    let (whole, text) = digits(text);
    let (fraction, text) = match text.strip_prefix('.') {
        Some(after) => digits(after),
        None => ("", text),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = text
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(text.len());
    let (unit, rest) = text.split_at_checked(end)?;
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole = number(whole)?.checked_mul(unit)?;
    // More digits than nanoseconds have say nothing more.
    let fraction = fraction.get(..fraction.len().min(18))?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = number(fraction)?.checked_mul(unit)?.checked_div(scale)?;
    Some((whole.checked_add(fraction)?, rest))
}

/// A quantity of CPUs as whole cores, rounded up: `100m` is 1, `1500m` is 2.
pub(super) fn cores(text: &str) -> Result<u32, String> {
    let problem = || {
        format!(
            "`{}` is not a quantity of CPUs (for example 500m or 2)",
            shown(text)
        )
    };
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => digits(after),
        None => ("", rest),
    };
    let shift: usize = match rest {
        "" => 0,
        "m" => 3,
        "u" => 6,
        "n" => 9,
        _ => return Err(problem()),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(problem());
    }
    // Moving the point by the unit leaves whole cores before it; anything after it that is not zero is one more.
    let padded = format!("{whole:0>shift$}");
    let (before, after) = padded
        .split_at_checked(padded.len() - shift)
        .ok_or_else(problem)?;
    let more = after.bytes().chain(fraction.bytes()).any(|b| b != b'0');
    number(before)
        .and_then(|cores| cores.checked_add(more.into()))
        .and_then(|cores| u32::try_from(cores).ok())
        .ok_or_else(problem)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn number(digits: &str) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse().ok()
}

/// The beginning of a value that people wrote, on one line.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("+0", 0),
            ("300ms", 300_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("2us3ns", 2_003),
            ("1µs", 1_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(expected)), "{text}");
        }
        for bad in [
            "", "+", "1", "s", "1 s", "-1s", "1d", "1s2", ".s", "1.5.5s", "9999999h", "1S",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_of_cpus_are_rounded_up_to_whole_cores() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1),
            ("100m", 1),
            ("1000m", 1),
            ("1001m", 2),
            ("1.5", 2),
            ("0.1", 1),
            ("1.000", 1),
            ("2000000001n", 3),
            (".5", 1),
            ("1.5m", 1),
        ] {
            assert_eq!(cores(text), Ok(expected), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1 ", "1Gi", "99999999999"] {
            assert!(cores(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn truth_has_the_forms_of_go() {
        assert_eq!(truth("T"), Ok(true));
        assert_eq!(truth("False"), Ok(false));
        assert!(truth("yes").is_err());
        assert!(truth("").is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_people_write_panics(text in "[-+0-9.hmsunµ ]{0,40}|.{0,10}") {
            drop((duration(&text), cores(&text), truth(&text), shown(&text)));
        }
    }
}

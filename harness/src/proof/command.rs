//! `linkerd-proxy-harness prove`: as the helper of the daemon, and by hand.

use linkerd_harness_core::config::Config;
use linkerd_harness_core::redirect::proof::{Outcome, Wish};
use linkerd_harness_core::status::Shown;
use nix::unistd::geteuid;

use super::helper::{self, Request};
use super::prove;
use crate::paths::{self, Paths};
use crate::{interception, redirection};

/// `EX_UNAVAILABLE` and `EX_OSERR` of sysexits(3).
const UNAVAILABLE: u8 = 69;
const OS_ERROR: u8 = 71;

/// Rules of another configuration than the daemon's would be tried.
const EDITED: &str = "the configuration was edited after the daemon started (try: systemctl restart linkerd-proxy-harness)";

/// What to print, and the exit code: zero when all that could be tried is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// For stdout.
    pub table: String,
    /// For stderr.
    pub problem: Option<String>,
    /// Of the process.
    pub code: u8,
}

/// Tries what the configuration redirects, or what the daemon asked for last; leaves it the answer when it is `requested`.
pub fn command(config: &Config, paths: &Paths, requested: bool) -> Told {
    if !geteuid().is_root() {
        return Told::nothing(
            "this needs root: it makes a network namespace and connects from there",
            OS_ERROR,
        );
    }
    let user_id = match paths::proxy_user(config.proxy.user_id) {
        Ok(user_id) => user_id,
        Err(error) => return Told::nothing(&error.to_string(), OS_ERROR),
    };
    let asked = helper::asked(&paths.runtime);
    if requested && asked.is_none() {
        // The daemon's directory came or went, which starts the unit too.
        return Told::default();
    }
    let rails = redirection::rails::at_start(config, &paths.roots());
    let plan = interception::plan(config, user_id, &rails);
    let wish = asked.as_ref().map_or_else(Wish::default, Request::wish);
    let edited = asked
        .as_ref()
        .is_some_and(|asked| asked.rules != helper::fingerprint(config));
    let results = if requested && edited {
        super::untried(&plan, wish, EDITED)
    } else {
        prove(&plan, wish)
    };
    let mut told = Told {
        table: table(&results),
        problem: None,
        code: code(&results),
    };
    if let Some(asked) = asked.filter(|_| requested)
        && let Err(error) = helper::leave(&paths.roots(), asked.id, results)
    {
        told.problem = Some(format!(
            "cannot write into `{}`: {error}",
            paths.roots().display()
        ));
        told.code = OS_ERROR;
    }
    told
}

impl Told {
    fn nothing(problem: &str, code: u8) -> Self {
        Self {
            table: String::new(),
            problem: Some(problem.to_string()),
            code,
        }
    }
}

fn table(results: &[Shown]) -> String {
    let row = |shown: &Shown| {
        let (direction, family, outcome) = (shown.direction, shown.family, shown.outcome);
        format!(
            "{:<8}  {:<4}  {:<7}  {}\n",
            direction.to_string(),
            family.to_string(),
            outcome.to_string(),
            shown.message
        )
    };
    results.iter().map(row).collect()
}

fn code(results: &[Shown]) -> u8 {
    let any = |outcome| results.iter().any(|shown| shown.outcome == outcome);
    match (any(Outcome::Failed), any(Outcome::Proven)) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use linkerd_harness_core::redirect::Family;
    use linkerd_harness_core::redirect::proof::Direction;

    use super::*;

    #[test]
    fn the_table_has_a_row_a_trial_and_the_code_says_whether_all_is_proven() {
        let shown = |outcome| Shown {
            direction: Direction::Inbound,
            family: Family::V4,
            outcome,
            message: "why".to_owned(),
        };
        let (proven, failed, untried) = (
            shown(Outcome::Proven),
            shown(Outcome::Failed),
            shown(Outcome::Untried),
        );
        assert_eq!(
            table(&[proven.clone(), untried.clone()]),
            "inbound   IPv4  proven   why\ninbound   IPv4  untried  why\n"
        );
        assert_eq!(code(&[proven.clone(), untried.clone()]), 0);
        assert_eq!(code(&[proven, failed, untried.clone()]), 1);
        assert_eq!(code(&[untried]), UNAVAILABLE);
        assert_eq!(code(&[]), UNAVAILABLE);
    }
}

//! What the last attempt to send connections through the redirection has shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::redirect::Family;
use crate::redirect::proof::{Direction, Outcome};

/// The last attempt. `Display` sums it up in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When it was made, RFC 3339 in UTC.
    pub at: String,
    /// Each direction and family.
    pub results: Vec<Shown>,
}

/// What one direction and family has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which way.
    pub direction: Direction,
    /// Which family.
    pub family: Family,
    /// What it was.
    pub outcome: Outcome,
    /// For people: what was seen.
    pub message: String,
}

impl Proof {
    /// The worst of what was found: a failure, else a proof if there is any.
    pub fn outcome(&self) -> Outcome {
        let any = |outcome| self.of(outcome).next().is_some();
        [Outcome::Failed, Outcome::Proven]
            .into_iter()
            .find(|outcome| any(*outcome))
            .unwrap_or(Outcome::Untried)
    }

    /// Those of one outcome.
    pub fn of(&self, outcome: Outcome) -> impl Iterator<Item = &Shown> {
        self.results
            .iter()
            .filter(move |shown| shown.outcome == outcome)
    }
}

impl fmt::Display for Proof {
    /// `inbound IPv4, outbound IPv4; untried: inbound IPv6 (no such address)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.outcome();
        let mut others = Outcome::ALL.to_vec();
        others.sort_by_key(|outcome| *outcome != whole);
        let mut between = "";
        for outcome in others {
            let told: Vec<String> = self
                .of(outcome)
                .map(|shown| match outcome {
                    Outcome::Proven => format!("{} {}", shown.direction, shown.family),
                    _ => format!("{} {} ({})", shown.direction, shown.family, shown.message),
                })
                .collect();
            if told.is_empty() {
                continue;
            }
            f.write_str(between)?;
            if outcome != whole {
                write!(f, "{outcome}: ")?;
            }
            f.write_str(&told.join(", "))?;
            between = "; ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_shown(direction: Direction, outcome: Outcome) -> Shown {
        Shown {
            direction,
            family: Family::V4,
            outcome,
            message: "why".to_owned(),
        }
    }

    #[test]
    fn a_failure_comes_first() {
        let mut proof = Proof {
            at: String::new(),
            results: vec![
                mk_shown(Direction::Inbound, Outcome::Untried),
                mk_shown(Direction::Outbound, Outcome::Proven),
            ],
        };
        assert_eq!(proof.outcome(), Outcome::Proven);
        assert_eq!(
            proof.to_string(),
            "outbound IPv4; untried: inbound IPv4 (why)"
        );
        proof
            .results
            .push(mk_shown(Direction::Inbound, Outcome::Failed));
        assert_eq!(proof.outcome(), Outcome::Failed);
        assert_eq!(
            proof.to_string(),
            "inbound IPv4 (why); proven: outbound IPv4; untried: inbound IPv4 (why)"
        );
    }

    #[test]
    fn a_page_without_a_proof_is_read() {
        let proof = r#"{"at":"x","results":[{"direction":"inbound","family":"ipv6","outcome":"untried","message":""}]}"#;
        let read: Proof = serde_json::from_str(proof).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), proof);
    }
}

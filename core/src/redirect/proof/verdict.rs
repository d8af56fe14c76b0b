//! What an attempt has shown.

use std::net::SocketAddr;

use super::{Outcome, Trial};

/// Everything that the kernel shows of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where we dialled.
    pub dialled: SocketAddr,
    /// What came back.
    pub answer: Answer,
    /// What connection tracking knows of it.
    pub tracked: Tracked,
    /// Where the socket is that took it; `None` when there is none on this host.
    pub accepted: Option<SocketAddr>,
    /// Whether anything listens where it was sent to.
    pub listening: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The handshake is complete.
    Accepted,
    /// A reset.
    Refused,
    /// Nothing, for so many seconds.
    Silent(u64),
    /// Anything else, in the kernel's words: an unreachable host, a firewall's word.
    Other(String),
}

/// What connection tracking knows of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// It could not be asked, and why.
    Unknown(String),
    /// It has never seen it. It notes a connection once that has passed the firewall.
    Never,
    /// It has seen it.
    Entry {
        /// Where the client wanted to go: what a proxy is told.
        original: SocketAddr,
        /// Who answers: somebody else than `original` when the connection was redirected.
        answers: SocketAddr,
    },
}

/// What this shows, and why, for people: what happened, and what to look at.
pub fn verdict(trial: &Trial, seen: &Seen) -> (Outcome, String) {
    let (dialled, proxy_port) = (seen.dialled, trial.proxy_port);
    let connection = format!("a connection to {dialled} as uid 0");
    let answer = &seen.answer;
    match &seen.tracked {
        Tracked::Entry { original, .. } if *original != dialled => failed(format!(
            "{connection} has the original destination {original}"
        )),
        Tracked::Entry { answers, .. } if *answers == dialled => failed(format!(
            "{connection} was not redirected: {}",
            answer.words()
        )),
        Tracked::Entry { answers, .. } if answers.port() != proxy_port => failed(format!(
            "{connection} was redirected to {answers} and not to the proxy's port {proxy_port}: {}",
            answer.words()
        )),
        Tracked::Entry { answers, .. } => match (answer, seen.accepted) {
            (Answer::Accepted, Some(accepted)) if accepted.port() == proxy_port => (
                Outcome::Proven,
                format!("{dialled} reached the proxy's port {proxy_port}"),
            ),
            (Answer::Accepted, Some(accepted)) => failed(format!(
                "{connection} was taken by {accepted} and not by {answers}"
            )),
            // Short-lived on the other side: the proxy may have closed it before we looked.
            (Answer::Accepted, None) => untried(format!(
                "{connection} was redirected to {answers}, but its socket was gone before it was found"
            )),
            (Answer::Refused, _) if !seen.listening => failed(format!(
                "{connection} was redirected to {answers}, where nothing listens"
            )),
            _ => untried(format!(
                "{connection} was redirected to {answers}, but {}: does a firewall of this host keep it from there?",
                answer.words()
            )),
        },
        Tracked::Never | Tracked::Unknown(_) => match (answer, seen.accepted) {
            (Answer::Accepted, Some(accepted)) if accepted.port() != proxy_port => failed(format!(
                "{connection} was not redirected: {accepted} took it"
            )),
            (Answer::Accepted, None) => failed(format!(
                "{connection} was not redirected: another host took it"
            )),
            _ => untried(match &seen.tracked {
                Tracked::Unknown(why) => {
                    format!("cannot ask the kernel's connection tracking: {why}")
                }
                _ => format!(
                    "{connection} did not get as far as connection tracking ({}): does a firewall of this host drop it?",
                    answer.words()
                ),
            }),
        },
    }
}

fn failed(what: String) -> (Outcome, String) {
    (Outcome::Failed, what)
}

fn untried(what: String) -> (Outcome, String) {
    (Outcome::Untried, what)
}

impl Answer {
    fn words(&self) -> String {
        match self {
            Self::Accepted => "the handshake was completed".to_owned(),
            Self::Refused => "it was refused".to_owned(),
            Self::Silent(seconds) => format!("no answer in {seconds} s"),
            Self::Other(words) => words.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redirect::Family;
    use crate::redirect::proof::Direction;

    const DIALLED: &str = "192.0.2.2:1404";
    const PROXY: &str = "127.0.0.1:4140";

    fn judge(
        answer: Answer,
        tracked: Option<(&str, &str)>,
        accepted: Option<&str>,
    ) -> (Outcome, String) {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let trial = Trial {
            direction: Direction::Outbound,
            family: Family::V4,
            port: Some(1404),
            to: vec![],
            proxy_port: 4140,
        };
        let seen = Seen {
            dialled: addr(DIALLED),
            answer,
            tracked: tracked.map_or(Tracked::Never, |(original, answers)| Tracked::Entry {
                original: addr(original),
                answers: addr(answers),
            }),
            accepted: accepted.map(addr),
            listening: false,
        };
        verdict(&trial, &seen)
    }

    #[test]
    fn proven_needs_the_handshake_the_socket_and_the_original_destination() {
        let through = Some((DIALLED, PROXY));
        let outcome = |answer, tracked, accepted| judge(answer, tracked, accepted).0;
        assert_eq!(
            outcome(Answer::Accepted, through, Some(PROXY)),
            Outcome::Proven
        );
        for (answer, tracked, accepted) in [
            (Answer::Silent(2), through, Some(PROXY)),
            (Answer::Accepted, None, Some(PROXY)),
            (
                Answer::Accepted,
                Some(("192.0.2.3:1404", PROXY)),
                Some(PROXY),
            ),
            (Answer::Accepted, through, Some("127.0.0.1:4141")),
            (Answer::Accepted, through, None),
            (
                Answer::Accepted,
                Some((DIALLED, "127.0.0.1:4999")),
                Some(PROXY),
            ),
        ] {
            let verdict = judge(answer.clone(), tracked, accepted);
            assert_ne!(
                verdict.0,
                Outcome::Proven,
                "{answer:?} {tracked:?} {accepted:?}"
            );
        }
    }

    #[test]
    fn what_went_elsewhere_failed_whatever_came_back() {
        for answer in [Answer::Accepted, Answer::Refused, Answer::Silent(2)] {
            let (outcome, why) = judge(answer, Some((DIALLED, DIALLED)), None);
            assert_eq!(outcome, Outcome::Failed);
            assert!(
                why.starts_with("a connection to 192.0.2.2:1404 as uid 0 was not redirected: "),
                "{why}"
            );
        }
        assert_eq!(
            judge(Answer::Accepted, None, Some("10.0.0.1:80")).0,
            Outcome::Failed
        );
        let (outcome, why) = judge(Answer::Refused, Some((DIALLED, PROXY)), None);
        assert_eq!(
            (outcome, why.ends_with("where nothing listens")),
            (Outcome::Failed, true),
            "{why}"
        );
    }

    #[test]
    fn silence_alone_is_no_alarm() {
        for answer in [
            Answer::Silent(2),
            Answer::Refused,
            Answer::Other("no route".to_owned()),
        ] {
            let (outcome, why) = judge(answer, None, None);
            assert_eq!(outcome, Outcome::Untried, "{why}");
            assert!(why.contains("firewall"), "{why}");
        }
    }
}

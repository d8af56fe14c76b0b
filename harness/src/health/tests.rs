use super::combine::{Outcome, Served, Verdict, combine};
use super::*;

fn verdict(outcome: Outcome) -> Verdict {
    Verdict {
        outcome,
        got: "GET http://127.0.0.1:80/ready: 503".to_owned(),
    }
}

fn now(verdicts: &[Verdict]) -> Health {
    combine(false, Served::Yes, Some(verdicts), false)
}

#[test]
fn ready_needs_every_probe_the_proxy_and_the_first_rule() {
    let state = |served, verdicts: &[Verdict]| combine(false, served, Some(verdicts), false).state;
    let passes = [verdict(Outcome::Passes), verdict(Outcome::Passes)];
    assert_eq!(state(Served::Yes, &passes), State::Healthy);
    assert_eq!(state(Served::Yes, &[]), State::Healthy);
    assert_eq!(state(Served::No, &passes), State::Starting);
    assert_eq!(state(Served::NotRedirected, &passes), State::Starting);
    for (other, expected) in [
        (Outcome::Open, State::Starting),
        (Outcome::Fails, State::Unhealthy),
        (Outcome::NotAllowed, State::Unhealthy),
    ] {
        let verdicts = [verdict(Outcome::Passes), verdict(other)];
        assert_eq!(state(Served::Yes, &verdicts), expected);
    }
    assert_eq!(
        combine(true, Served::Yes, Some(&passes), true).state,
        State::Draining
    );
    assert_eq!(
        combine(false, Served::Yes, None, true).state,
        State::Starting
    );
}

#[test]
fn new_probes_without_a_verdict_do_not_take_out_a_healthy_workload() {
    for (outcome, expected) in [
        (Outcome::Open, State::Healthy),
        (Outcome::Fails, State::Unhealthy),
        (Outcome::NotAllowed, State::Unhealthy),
    ] {
        let answer = combine(false, Served::Yes, Some(&[verdict(outcome)]), true);
        assert_eq!(answer.state, expected);
    }
}

#[test]
fn the_message_names_the_probe_that_fails() {
    let got = "GET http://127.0.0.1:80/ready: 503";
    let [passes, fails] = [Outcome::Passes, Outcome::Fails].map(verdict);
    let message = |verdicts: &[Verdict]| now(verdicts).message;
    assert_eq!(message(std::slice::from_ref(&fails)), got);
    let one = [passes.clone(), fails.clone()];
    assert_eq!(message(&one), format!("probe 2 of 2: {got}"));
    let two = [passes, fails.clone(), fails];
    assert_eq!(message(&two), format!("2 of 3 probes fail; probe 2: {got}"));
    assert_eq!(now(&two).reason, "ProbeFailed");
}

#[test]
fn what_is_not_allowed_says_what_to_type() {
    let verdicts = [verdict(Outcome::Fails), verdict(Outcome::NotAllowed)];
    let answer = now(&verdicts);
    assert_eq!(answer.reason, "ProbeNotAllowed");
    let typed = "harnessctl set-config --health-allow-exec-probes=true";
    assert!(answer.message.contains(typed), "{}", answer.message);
    assert!(
        answer.message.contains("(probe 2 wants to"),
        "{}",
        answer.message
    );
}

#[test]
fn other_words_are_news_and_the_same_are_not() {
    let mut held = now(&[verdict(Outcome::Fails)]);
    let mut again = held.clone();
    assert!(!publish(&mut held, again.clone()));
    again.message = "GET http://127.0.0.1:80/ready: 500".to_owned();
    assert!(publish(&mut held, again.clone()));
    assert_eq!(held, again);
    assert!(publish(&mut held, now(&[verdict(Outcome::Passes)])));
}

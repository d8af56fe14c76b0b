//! Rules one by one; `many` lets candidates loose on one another.

mod many;

use super::*;

const TIMING: Timing = Timing {
    lease: secs(15),
    renew: secs(10),
    retry: secs(2),
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn record(version: u64, holder: &str) -> Record {
    Record {
        version: Some(version.to_string()),
        holder: holder.to_owned(),
        lease: TIMING.lease,
    }
}

fn absent() -> Record {
    Record {
        version: None,
        holder: String::new(),
        lease: Duration::ZERO,
    }
}

fn candidate() -> Election {
    Election::new("me".to_owned(), TIMING)
}

#[test]
fn a_candidate_looks_before_it_does_anything() {
    assert_eq!(candidate().step(secs(1000)), Step::Read);
    assert!(!candidate().leads(Duration::ZERO));
}

#[test]
fn a_record_of_another_is_taken_when_it_did_not_change_for_the_lease_by_our_clock() {
    let mut me = candidate();
    me.read(secs(100), record(1, "other"));
    me.read(secs(114), record(1, "other"));
    assert_eq!(me.step(secs(114)), Step::Wait);
    assert_eq!(me.step(secs(115)), Step::Write);
    me.read(secs(115), record(2, "other"));
    assert_eq!(me.step(secs(129)), Step::Wait);
    assert_eq!(me.step(secs(130)), Step::Write);
}

#[test]
fn a_released_record_is_taken_at_once() {
    let mut me = candidate();
    me.read(secs(1), record(1, ""));
    assert_eq!(me.step(secs(1)), Step::Write);
}

/// There may have been a holder who does not know yet.
#[test]
fn who_makes_the_record_holds_it_for_a_lease_before_it_leads() {
    let mut me = candidate();
    me.read(secs(1), absent());
    assert_eq!(me.step(secs(1)), Step::Write);
    me.wrote(secs(1), secs(2), record(1, "me"));
    assert!(!me.leads(secs(2)));
    assert!(!me.may_release());
    me.wrote(secs(16), secs(17), record(2, "me"));
    assert!(!me.leads(secs(17)));
    me.wrote(secs(17), secs(18), record(3, "me"));
    assert!(me.leads(secs(18)));
    assert!(me.may_release());
}

#[test]
fn a_holder_whose_record_is_gone_makes_it_again_and_leads_on() {
    let mut me = candidate();
    me.read(secs(0), record(1, ""));
    me.wrote(secs(1), secs(2), record(2, "me"));
    me.read(secs(3), absent());
    assert_eq!(me.step(secs(3)), Step::Write);
    assert!(me.leads(secs(10)));
    me.wrote(secs(10), secs(10), record(3, "me"));
    assert!(me.leads(secs(19)));

    me.read(secs(20), absent());
    me.wrote(secs(20), secs(21), record(4, "me"));
    assert!(!me.leads(secs(21)), "its time was over");
}

#[test]
fn a_longer_lease_of_the_holder_is_honoured_and_an_absurd_one_is_not() {
    let mut me = candidate();
    let lasting = |seconds| Record {
        lease: secs(seconds),
        ..record(1, "other")
    };
    me.read(secs(0), lasting(30));
    assert_eq!(me.step(secs(29)), Step::Wait);
    assert_eq!(me.step(secs(30)), Step::Write);
    me.read(secs(30), lasting(1_000_000));
    assert_eq!(me.step(secs(60)), Step::Write);
}

#[test]
fn leadership_counts_from_when_the_renewal_was_sent() {
    let mut me = candidate();
    me.wrote(secs(1), secs(5), record(1, "me"));
    assert_eq!(me.until(), Some(secs(11)));
    assert_eq!(me.step(secs(5)), Step::Write);
}

#[test]
fn who_sees_another_holder_stops_at_once() {
    let mut me = candidate();
    me.wrote(secs(1), secs(1), record(1, "me"));
    me.look_again();
    assert_eq!(me.step(secs(2)), Step::Read);
    assert!(me.leads(secs(2)));
    me.read(secs(2), record(2, "other"));
    assert!(!me.leads(secs(2)));
    assert_eq!(me.step(secs(2)), Step::Wait);
}

/// An answer that was lost. What the request came upon is not known either.
#[test]
fn a_record_that_names_us_unexpectedly_is_held_for_a_lease_before_we_lead() {
    let mut me = candidate();
    me.read(secs(1), record(1, "me"));
    assert!(!me.leads(secs(1)));
    assert_eq!(me.step(secs(1)), Step::Write);
    me.wrote(secs(1), secs(1), record(2, "me"));
    assert!(!me.leads(secs(1)));
    me.wrote(secs(16), secs(16), record(3, "me"));
    assert!(me.leads(secs(16)));
}

#[test]
fn a_leader_whose_renewal_came_through_without_an_answer_leads_on() {
    let mut me = candidate();
    me.read(secs(0), record(1, ""));
    me.wrote(secs(1), secs(1), record(2, "me"));
    me.look_again();
    me.read(secs(5), record(3, "me"));
    me.wrote(secs(6), secs(6), record(4, "me"));
    assert!(me.leads(secs(15)));
}

//! On a host whose kernel tells of changes.

use super::*;

/// With rules in place, and no look for as long as the tests run but when something is heard.
async fn start_hearing() -> Running {
    let heard = watch::Sender::new(Heard::default());
    let host = FakeHost::default();
    host.peek(|host| host.heard = Some(heard));
    let mut running = start_with(host, Duration::from_secs(1_000_000));
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    running
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_leads_to_a_look_at_once_and_the_writer_is_named() {
    let mut running = start_hearing().await;
    let looks = running.host.peek(|host| host.looks);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        running.host.peek(|host| host.looks),
        looks,
        "a quiet host is left alone, also after our own change"
    );
    // One who came before, and whose change did no harm.
    running.host.peek(|host| host.tell("dockerd", 815));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(running.host.peek(|host| host.looks), looks + 1);
    let begun = Instant::now();
    running.host.peek(|host| host.undo("nft", 4711));
    let report = reason(&mut running.reports, "Repaired").await;
    assert!(
        begun.elapsed() <= Duration::from_millis(30),
        "{:?}",
        begun.elapsed()
    );
    assert!(report.message.contains("by nft (pid 4711)"), "{report:?}");
    assert!(running.phase.borrow().last_repair.is_some());
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        running.host.peek(|host| host.looks),
        looks + 3,
        "one that finds it, one that shows the repair"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_leads_to_few_looks_and_no_repair() {
    let running = start_hearing().await;
    let looks = running.host.peek(|host| host.looks);
    for pid in 1000..3000 {
        running.host.peek(|host| host.tell("dockerd", pid));
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let looks = running.host.peek(|host| host.looks) - looks;
    assert!((10..=55).contains(&looks), "{looks} in 10 s");
    assert_eq!(running.state(), (Phase::Applied, 0));
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_we_apply_is_not_missed() {
    let mut running = start_hearing().await;
    running.host.peek(|host| host.undone = 1);
    running.plans.send_replace(Some(mk_plan(2)));
    reason(&mut running.reports, "Repaired").await;
    assert!(running.host.peek(|host| host.rules.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_fights_back_is_named_and_repairs_are_far_apart() {
    let mut running = start_hearing().await;
    let applied = |host: &FakeHost| host.peek(|host| host.applied);
    running.host.peek(|host| {
        host.undone = 1000;
        host.undo("firewalld", 123);
    });
    let report = reason(&mut running.reports, "Contested").await;
    assert_eq!(report.state, linkerd_harness_core::status::State::Degraded);
    assert!(
        report
            .message
            .contains("firewalld (pid 123) undid our rules 5 times"),
        "{report:?}"
    );
    assert!(
        report.message.contains("IPTablesMode `nftables`"),
        "{report:?}"
    );
    sleep(Duration::from_secs(1)).await;
    let report = running.reports.borrow().message.clone();
    assert!(
        report.contains("until the next repair: all rules were gone"),
        "{report}"
    );
    assert_eq!(
        running.phase.borrow().phase,
        Phase::Changing,
        "nobody is told that rules are there"
    );
    let begun = applied(&running.host);
    let looks = running.host.peek(|host| host.looks);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(applied(&running.host) - begun, 10, "one each 10 s");
    assert!(running.host.peek(|host| host.looks) - looks <= 20);

    // What an operator wants is done all the same, and is no repair.
    running.plans.send_replace(Some(mk_plan(2)));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(applied(&running.host) - begun, 11);
    assert_eq!(running.reports.borrow().reason, "Contested");
    running.plans.send_replace(None);
    running
        .phase
        .wait_for(|state| state.phase == Phase::Removed)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fight_that_ends_is_forgotten_after_a_quiet_minute() {
    let mut running = start();
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    running.host.peek(|host| {
        host.undone = 8;
        host.rules = None;
    });
    let report = reason(&mut running.reports, "Contested").await;
    assert!(
        report
            .message
            .contains("another program (the kernel does not tell which"),
        "{report:?}"
    );
    while running
        .host
        .peek(|host| host.undone > 0 || host.rules.is_none())
    {
        sleep(Duration::from_secs(1)).await;
    }
    let over = Instant::now();
    assert_eq!(running.reports.borrow().reason, "Contested");
    reason(&mut running.reports, "Applied").await;
    assert!(
        (50..=75).contains(&over.elapsed().as_secs()),
        "{:?}",
        over.elapsed()
    );
    assert_eq!(running.state().0, Phase::Applied);
}

#[tokio::test(start_paused = true)]
async fn rules_that_come_back_while_none_are_wanted_are_withdrawn_at_once() {
    let mut running = start_hearing().await;
    running.plans.send_replace(None);
    let removed = |state: &Redirection| state.phase == Phase::Removed;
    running.phase.wait_for(removed).await.unwrap();
    let withdrawals = |running: &Running| running.host.peek(|host| host.withdrawals);
    let before = withdrawals(&running);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(withdrawals(&running), before, "a quiet host is left alone");
    running.host.peek(|host| {
        host.rules = Some(Plan::clone(&mk_plan(1)));
        host.tell("iptables-restor", 4711);
    });
    sleep(Duration::from_millis(30)).await;
    assert!(running.host.peek(|host| host.rules.is_none()));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(withdrawals(&running), before + 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_we_look_is_a_suspect_of_what_is_found_next() {
    let mut running = start_hearing().await;
    // After the host showed that all is well, before we knew.
    running
        .host
        .peek(|host| host.undone_in_look = Some(("nft", 4711)));
    running.host.peek(|host| host.tell("dockerd", 815));
    let report = reason(&mut running.reports, "Repaired").await;
    assert!(report.message.contains("by nft (pid 4711)"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn who_undid_rules_is_not_forgotten_when_the_repair_fails() {
    let mut running = start_hearing().await;
    running.host.peek(|host| {
        host.failures = 3;
        host.undo("nft", 4711);
    });
    reason(&mut running.reports, "ApplyFailed").await;
    let report = reason(&mut running.reports, "Repaired").await;
    assert!(report.message.contains("by nft (pid 4711)"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn going_back_to_a_plan_after_another_one_failed_is_no_repair() {
    let mut running = start_hearing().await;
    running.host.peek(|host| {
        host.failures = 1;
        host.rules = None;
    });
    running.plans.send_replace(Some(mk_plan(2)));
    reason(&mut running.reports, "ApplyFailed").await;
    running.plans.send_replace(Some(mk_plan(1)));
    reason(&mut running.reports, "Applied").await;
    assert!(running.host.peek(|host| host.rules.is_some()));
    assert_eq!(running.state(), (Phase::Applied, 0));
}

#[tokio::test(start_paused = true)]
async fn under_closed_nothing_passes_around_the_proxy_for_long() {
    let mut running = start_hearing().await;
    let held = mk_plan_under(FailurePolicy::Closed, 1);
    running.plans.send_replace(Some(held));
    sleep(Duration::from_secs(1)).await;
    running.host.peek(|host| {
        host.undone = 1000;
        host.undo("firewalld", 123);
    });
    reason(&mut running.reports, "Contested").await;
    let begun = running.host.peek(|host| host.applied);
    sleep(Duration::from_secs(100)).await;
    let repairs = running.host.peek(|host| host.applied) - begun;
    assert!((95..=100).contains(&repairs), "{repairs} in 100 s");
}

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn mk_writer(name: &str, pid: u32) -> Writer {
    Writer {
        pid,
        port: pid,
        name: name.to_owned(),
    }
}

#[test]
fn five_repairs_within_a_minute_are_a_fight_and_then_there_is_one_each_ten_seconds() {
    let mut contest = Contest::default();
    for second in 0..4 {
        let told = contest.repaired(secs(second), [mk_writer("firewalld", 123)]);
        assert_eq!((told.fight_began, contest.not_before()), (false, None));
    }
    assert!(
        contest
            .repaired(secs(12), [mk_writer("firewalld", 123)])
            .fight_began
    );
    assert_eq!(contest.not_before(), Some(secs(22)));
    assert_eq!(
        contest.fight().unwrap().to_string(),
        "firewalld (pid 123) undid our rules 5 times in 12 s; we repair every 10 s only (try: IPTablesMode `nftables`, whose own table firewalld leaves alone)"
    );
    let told = contest.repaired(secs(22), [mk_writer("nft", 9), mk_writer("nft", 10)]);
    assert!(!told.fight_began);
    assert_eq!(contest.not_before(), Some(secs(32)));
    let fight = contest.fight().unwrap();
    assert_eq!((fight.times, fight.since), (6, secs(0)));
    assert_eq!(
        fight.by.to_string(),
        "firewalld (pid 123) or nft (last pid 10)"
    );
}

#[test]
fn repairs_in_quick_succession_are_of_one_deed() {
    let mut contest = Contest::default();
    for deed in 0..4 {
        for repair in 0..3 {
            let at = secs(deed * 5) + Duration::from_millis(repair * 300);
            assert!(!contest.repaired(at, []).fight_began, "deed {deed}");
        }
    }
    assert!(contest.repaired(secs(20), []).fight_began);
}

#[test]
fn a_fight_is_over_after_a_quiet_minute_and_can_begin_anew() {
    let mut contest = Contest::default();
    for second in 0..5 {
        contest.repaired(secs(second), []);
    }
    assert!(
        contest
            .fight()
            .unwrap()
            .to_string()
            .starts_with("another program (the kernel")
    );
    assert_eq!(contest.found_in_place(secs(63)), None);
    assert_eq!(contest.found_in_place(secs(64)).unwrap().times, 5);
    assert_eq!(contest.not_before(), None);
    for second in 70..74 {
        assert!(!contest.repaired(secs(second), []).fight_began);
    }
    assert!(contest.repaired(secs(74), []).fight_began);
    assert_eq!(contest.fight().unwrap().since, secs(70));
}

#[test]
fn a_repair_now_and_then_is_no_fight() {
    let mut contest = Contest::default();
    for number in 0..50 {
        assert!(
            !contest.repaired(secs(number * 16), []).fight_began,
            "repair {number}"
        );
    }
}

#[test]
fn suspects_of_long_ago_are_forgotten() {
    let mut contest = Contest::default();
    contest.repaired(secs(0), [mk_writer("ufw", 1)]);
    for second in 100..105 {
        contest.repaired(secs(second), [mk_writer("nft", 2)]);
    }
    assert_eq!(contest.fight().unwrap().by.to_string(), "nft (pid 2)");
}

#[test]
fn the_first_repairs_are_news_and_again_after_a_quiet_hour() {
    let mut contest = Contest::default();
    let loud: Vec<bool> = [0, 30, 60, 90, 3000, 6599, 10_199]
        .map(|second| contest.repaired(secs(second), []).loud)
        .to_vec();
    assert_eq!(loud, [true, true, true, false, false, false, true]);
    assert!(contest.repaired_lately(secs(10_258)) && !contest.repaired_lately(secs(10_259)));
}

#[test]
fn at_most_a_few_writers_are_named() {
    let suspects: Suspects = (0..100)
        .map(|n| mk_writer(&format!("program-{n}"), n))
        .collect();
    assert_eq!(suspects.to_string().matches("pid").count(), NAMED);
}

#[test]
fn where_nothing_may_pass_around_the_proxy_repairs_are_a_second_apart() {
    let mut contest = Contest::default();
    contest.set_held(true);
    for second in 0..5 {
        contest.repaired(secs(second), []);
    }
    assert_eq!(contest.not_before(), Some(secs(5)));
    let told = contest.fight().unwrap().to_string();
    assert!(told.contains("we repair every 1 s only"), "{told}");
    contest.set_held(false);
    assert_eq!(contest.not_before(), Some(secs(14)));
}

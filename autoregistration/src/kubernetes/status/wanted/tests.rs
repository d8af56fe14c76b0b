use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::manifests::Access;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn shown(generation: i64) -> Shown {
    Shown {
        uid: "1".to_owned(),
        generation,
        ..Shown::default()
    }
}

fn group(generation: i64) -> Group {
    Group {
        uid: "1".to_owned(),
        generation,
        ..Group::default()
    }
}

fn totals(generation: i64, [workloads, ready, updated]: [usize; 3]) -> GroupTotals {
    GroupTotals {
        of: Some(("1".to_owned(), generation)),
        workloads,
        ready,
        updated,
    }
}

fn refused(generation: i64, kept: bool) -> Refused {
    Refused {
        uid: "1".to_owned(),
        generation: Some(generation),
        problems: vec![FieldProblem {
            field: "spec.probes[0]".to_owned(),
            message: "is odd".to_owned(),
        }],
        kept,
    }
}

fn facts<'a>(shown: &'a Shown, group: &'a Group, totals: &'a GroupTotals) -> Facts<'a> {
    Facts {
        shown,
        group: Some(group),
        refused: None,
        totals: Some(totals),
        problems: &[],
        default_access: DefaultAccess::TrustDomain,
    }
}

/// Type, status and reason of the conditions, with nothing there before.
fn says(facts: &Facts<'_>) -> Vec<(String, String, String)> {
    let status = facts.wanted(&ExternalGroupStatus::default(), &at(1));
    let conditions = status.conditions.into_iter();
    conditions
        .map(|it| (it.type_, it.status, it.reason))
        .collect()
}

fn all(expected: &[[&str; 3]]) -> Vec<(String, String, String)> {
    let texts = expected.iter().map(|it| it.map(str::to_owned));
    texts.map(|[a, b, c]| (a, b, c)).collect()
}

#[test]
fn conditions_say_what_has_become_of_the_group() {
    let (shown, taken, done) = (shown(2), group(2), totals(2, [3, 2, 3]));
    let good = facts(&shown, &taken, &done);
    assert_eq!(
        says(&good),
        all(&[
            ["Accepted", "True", "Accepted"],
            ["Restricted", "False", "OpenAccess"],
            ["RolledOut", "True", "RolledOut"],
            ["SettingsTaken", "True", "Taken"],
        ])
    );
    let status = good.wanted(&ExternalGroupStatus::default(), &at(1));
    let counts = (status.workloads, status.ready, status.updated);
    assert_eq!(counts, (Some(3), Some(2), Some(3)));
    assert_eq!(status.observed_generation, Some(2));
    assert!(
        status
            .conditions
            .iter()
            .all(|it| it.observed_generation == Some(2))
    );

    let half = totals(2, [3, 2, 1]);
    let rolling = says(&facts(&shown, &taken, &half));
    assert_eq!(rolling[2], all(&[["RolledOut", "False", "RollingOut"]])[0]);

    let bad = refused(2, true);
    let (earlier, earlier_totals) = (group(1), totals(1, [3, 2, 3]));
    let kept = Facts {
        refused: Some(&bad),
        ..facts(&shown, &earlier, &earlier_totals)
    };
    assert!(kept.agree());
    assert_eq!(
        says(&kept)[..3],
        all(&[
            ["Accepted", "False", "LastGoodKept"],
            ["Restricted", "False", "OpenAccess"],
            ["RolledOut", "False", "NotAccepted"],
        ])
    );

    let bad = refused(2, false);
    let invalid = Facts {
        group: None,
        totals: None,
        refused: Some(&bad),
        ..good
    };
    assert!(invalid.agree());
    assert_eq!(
        says(&invalid),
        all(&[
            ["Accepted", "False", "Invalid"],
            ["RolledOut", "False", "NotAccepted"],
        ])
    );
    let status = invalid.wanted(&ExternalGroupStatus::default(), &at(1));
    assert_eq!(
        status.conditions[0].message,
        "no VM can join: spec.probes[0]: is odd"
    );

    let deleting = Shown {
        deleting: true,
        ..shown.clone()
    };
    let deleted = facts(&deleting, &taken, &done);
    assert_eq!(
        says(&deleted)[0],
        all(&[["Accepted", "False", "Terminating"]])[0]
    );
    assert!(!deleted.is_open());

    let problems = refused(2, false).problems;
    let ignored = Facts {
        problems: &problems,
        ..good
    };
    assert_eq!(
        says(&ignored)[3],
        all(&[["SettingsTaken", "False", "AnnotationsIgnored"]])[0]
    );
}

#[test]
fn a_group_is_open_unless_identities_or_networks_are_said_or_the_default_is_deny() {
    let (shown, done) = (shown(1), totals(1, [0; 3]));
    let reason = |access, default_access| {
        let group = Group { access, ..group(1) };
        let facts = Facts {
            default_access,
            ..facts(&shown, &group, &done)
        };
        let said = says(&facts).remove(1);
        assert_eq!(facts.is_open(), said.1 == "False");
        said.2
    };
    let only = |max_workloads| {
        Some(Access {
            max_workloads,
            ..Access::default()
        })
    };
    let identities = Some(Access {
        identities: Some(Vec::new()),
        ..Access::default()
    });
    assert_eq!(reason(None, DefaultAccess::TrustDomain), "OpenAccess");
    assert_eq!(reason(None, DefaultAccess::Deny), "NobodyMayJoin");
    assert_eq!(reason(only(Some(3)), DefaultAccess::Deny), "OpenAccess");
    assert_eq!(
        reason(identities, DefaultAccess::TrustDomain),
        "AccessGiven"
    );
}

#[test]
fn a_condition_keeps_its_moment_until_its_status_changes() {
    let (shown, taken) = (shown(1), group(1));
    let (done, half) = (totals(1, [2, 2, 2]), totals(1, [2, 2, 1]));
    let moments = |status: &ExternalGroupStatus| {
        let moments = status.conditions.iter().map(|it| it.last_transition_time.0);
        moments.map(Timestamp::as_second).collect::<Vec<_>>()
    };
    let first = facts(&shown, &taken, &done).wanted(&ExternalGroupStatus::default(), &at(1));
    assert_eq!(moments(&first), [1, 1, 1, 1]);
    let second = facts(&shown, &taken, &half).wanted(&first, &at(2));
    assert_eq!(moments(&second), [1, 1, 2, 1]);
    let more = totals(1, [3, 2, 1]);
    let third = facts(&shown, &taken, &more).wanted(&second, &at(3));
    assert_ne!(third.conditions[2].message, second.conditions[2].message);
    assert_eq!(moments(&third), [1, 1, 2, 1]);
}

#[test]
fn nothing_is_said_while_the_group_is_not_known_everywhere_as_it_is_now() {
    let (now, before) = (shown(2), group(1));
    let (new, old) = (totals(2, [0; 3]), totals(1, [0; 3]));
    assert!(
        !facts(&now, &before, &old).agree(),
        "the group is not read yet"
    );
    let taken = group(2);
    assert!(
        !facts(&now, &taken, &old).agree(),
        "the old one was counted"
    );
    assert!(facts(&now, &taken, &new).agree());
    let another = Shown {
        uid: "2".to_owned(),
        ..now
    };
    assert!(!facts(&another, &taken, &new).agree());
}

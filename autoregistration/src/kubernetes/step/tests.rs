mod anything;

use super::super::workload::tests::{key, object, spec};
use super::super::workload::with_spec;
use super::*;

const NOT_YET: Seen = Seen {
    drained: false,
    settled: false,
};
const WAITED: Seen = Seen {
    drained: true,
    settled: true,
};

fn ready(status: Status, reason: &str) -> Ready {
    Ready {
        status,
        reason: reason.to_owned(),
        message: String::new(),
    }
}

fn healthy() -> Ready {
    ready(Status::True, "ProbeSucceeded")
}

fn removed() -> Ready {
    ready(Status::False, "Removed")
}

fn stored(spec: &Spec, ready: Option<Ready>) -> Stored {
    let mut stored = object(with_spec(&key(), spec, None)).stored;
    stored.uid = "uid-1".to_owned();
    stored.resource_version = "7".to_owned();
    stored.ready = ready;
    stored
}

fn present(spec: &Spec, ready: Ready) -> Desired {
    Desired::Present {
        spec: Arc::new(spec.clone()),
        ready,
    }
}

fn gone(uid: Option<&str>) -> Desired {
    Desired::Gone {
        uid: uid.map(str::to_owned),
        ready: removed(),
    }
}

fn elsewhere() -> Spec {
    Spec {
        ips: vec!["10.77.0.3".parse().unwrap()],
        ..spec()
    }
}

fn written(step: &Step) -> Option<(Lane, &Write)> {
    match step {
        Step::Write { lane, write } => Some((*lane, write)),
        _ => None,
    }
}

#[test]
fn a_new_workload_is_made_without_a_status_and_ready_only_when_it_has_settled() {
    let wanted = present(&spec(), healthy());
    let step = next(&wanted, None, NOT_YET);
    assert_eq!(step, write(Lane::Create, Write::Create(Arc::new(spec()))));
    let made = stored(&spec(), None);
    assert_eq!(
        next(&wanted, Some(&made), NOT_YET),
        Step::Wait(Wait::Settled)
    );
    let seen = Seen {
        settled: true,
        ..NOT_YET
    };
    let step = next(&wanted, Some(&made), seen);
    assert_eq!(step, mark(Lane::Ready, &healthy(), &made));
    assert_eq!(
        next(&present(&spec(), Ready::starting()), Some(&made), NOT_YET),
        Step::Nothing,
        "no status means the same"
    );
}

#[test]
fn a_workload_changes_its_address_only_when_it_is_no_endpoint_any_more() {
    let wanted = present(&elsewhere(), healthy());
    let serving = stored(&spec(), Some(healthy()));
    let step = next(&wanted, Some(&serving), WAITED);
    assert_eq!(step, mark(Lane::NotReady, &reconfiguring(), &serving));
    let out = stored(&spec(), Some(reconfiguring()));
    assert!(needs_drain(&wanted, &out));
    assert_eq!(
        next(&wanted, Some(&out), NOT_YET),
        Step::Wait(Wait::Drained)
    );
    let step = next(&wanted, Some(&out), WAITED);
    let apply = Write::Apply(Version::of(&out), Arc::new(elsewhere()));
    assert_eq!(step, write(Lane::Create, apply));
    let moved = stored(&elsewhere(), Some(reconfiguring()));
    assert!(!needs_drain(&wanted, &moved));
    assert_eq!(
        next(&wanted, Some(&moved), NOT_YET),
        Step::Wait(Wait::Settled)
    );
    let step = next(&wanted, Some(&moved), WAITED);
    assert_eq!(step, mark(Lane::Ready, &healthy(), &moved));
}

#[test]
fn every_change_that_open_streams_would_miss_takes_it_out_first() {
    let opaque = |ports: &str| {
        let annotation = (
            "config.linkerd.io/opaque-ports".to_owned(),
            ports.to_owned(),
        );
        [annotation].into()
    };
    let changes: [fn(&mut Spec); 4] = [
        |spec| spec.ips.push("fd00::1".parse().unwrap()),
        |spec| spec.identity.push('x'),
        |spec| spec.server_name.push('x'),
        |spec| spec.proxy_inbound_port = 5143,
    ];
    for change in changes {
        let mut changed = spec();
        change(&mut changed);
        let serving = stored(&spec(), Some(healthy()));
        let step = next(&present(&changed, healthy()), Some(&serving), WAITED);
        assert_eq!(step, mark(Lane::NotReady, &reconfiguring(), &serving));
    }
    let with = Spec {
        annotations: opaque("3306"),
        ..spec()
    };
    let mut ported = spec();
    ported.ports.push(("admin".to_owned(), 9000));
    for (from, to) in [(&spec(), &with), (&with, &spec()), (&spec(), &ported)] {
        let serving = stored(from, Some(healthy()));
        let step = next(&present(to, healthy()), Some(&serving), WAITED);
        // All workloads of the group change: one after the other.
        assert_eq!(step, mark(Lane::Metadata, &reconfiguring(), &serving));
    }
    // One that a person has added.
    let mut edited = stored(&spec(), Some(healthy()));
    edited.spec.annotations = opaque("25");
    let step = next(&present(&spec(), healthy()), Some(&edited), WAITED);
    assert_eq!(step, Step::Nothing);
}

#[test]
fn another_description_is_applied_in_place_and_keeps_nobody_from_being_ready() {
    let mut described = spec();
    described.labels.insert("tier".to_owned(), "a".to_owned());
    described
        .annotations
        .insert("team".to_owned(), "a".to_owned());
    let serving = stored(&spec(), Some(healthy()));
    let apply = Write::Apply(Version::of(&serving), Arc::new(described.clone()));
    let step = next(&present(&described, healthy()), Some(&serving), NOT_YET);
    assert_eq!(step, write(Lane::Metadata, apply));
    let starting = stored(&spec(), None);
    let step = next(&present(&described, healthy()), Some(&starting), WAITED);
    assert_eq!(step, mark(Lane::Ready, &healthy(), &starting));
}

#[test]
fn bad_news_comes_before_all_else() {
    let failed = ready(Status::False, "ProbeFailed");
    let serving = stored(&spec(), Some(healthy()));
    let step = next(
        &present(&elsewhere(), failed.clone()),
        Some(&serving),
        WAITED,
    );
    assert_eq!(step, mark(Lane::NotReady, &failed, &serving));
}

#[test]
fn a_message_alone_is_never_written() {
    let other = Ready {
        message: "other words".to_owned(),
        ..healthy()
    };
    let serving = stored(&spec(), Some(healthy()));
    assert_eq!(
        next(&present(&spec(), other.clone()), Some(&serving), WAITED),
        Step::Nothing
    );
    let marked = Desired::Marked {
        uid: "uid-1".to_owned(),
        ready: other,
    };
    assert_eq!(next(&marked, Some(&serving), WAITED), Step::Nothing);
    let reason = ready(Status::True, "ProxyReady");
    let step = next(&present(&spec(), reason.clone()), Some(&serving), NOT_YET);
    assert_eq!(step, mark(Lane::Ready, &reason, &serving));
}

#[test]
fn a_workload_is_not_ready_and_drained_before_it_is_deleted() {
    for uid in [None, Some("uid-1")] {
        let wanted = gone(uid);
        let serving = stored(&spec(), Some(healthy()));
        let step = next(&wanted, Some(&serving), WAITED);
        assert_eq!(step, mark(Lane::NotReady, &removed(), &serving));
        let out = stored(&spec(), Some(ready(Status::Unknown, "HarnessUnreachable")));
        assert!(needs_drain(&wanted, &out));
        assert_eq!(
            next(&wanted, Some(&out), NOT_YET),
            Step::Wait(Wait::Drained)
        );
        let delete = write(Lane::Delete, Write::Delete(Version::of(&out)));
        assert_eq!(next(&wanted, Some(&out), WAITED), delete);
        assert_eq!(next(&wanted, None, NOT_YET), Step::Nothing);
    }
    let never_ready = stored(&spec(), None);
    let delete = write(Lane::Delete, Write::Delete(Version::of(&never_ready)));
    assert_eq!(next(&gone(None), Some(&never_ready), NOT_YET), delete);
}

#[test]
fn another_object_of_that_name_is_left_alone() {
    let serving = stored(&spec(), Some(healthy()));
    assert_eq!(
        next(&gone(Some("uid-0")), Some(&serving), WAITED),
        Step::Nothing
    );
    let marked = Desired::Marked {
        uid: "uid-0".to_owned(),
        ready: removed(),
    };
    assert_eq!(next(&marked, Some(&serving), WAITED), Step::Nothing);
    let mut foreign = stored(&elsewhere(), Some(healthy()));
    foreign.ours = false;
    assert_eq!(
        next(&present(&spec(), healthy()), Some(&foreign), WAITED),
        Step::Foreign
    );
    assert_eq!(next(&gone(None), Some(&foreign), WAITED), Step::Nothing);
    let marked = Desired::Marked {
        uid: "uid-1".to_owned(),
        ready: removed(),
    };
    assert_eq!(next(&marked, Some(&foreign), WAITED), Step::Nothing);
}

#[test]
fn an_object_that_is_being_deleted_is_waited_for_and_then_made_again() {
    let mut going = stored(&spec(), Some(healthy()));
    going.deleting = true;
    let wanted = present(&elsewhere(), healthy());
    assert_eq!(
        next(&wanted, Some(&going), WAITED),
        Step::Wait(Wait::Deleted)
    );
    assert!(matches!(
        written(&next(&wanted, None, NOT_YET)),
        Some((Lane::Create, Write::Create(_)))
    ));
    // Its last minutes are not ready when it shall go.
    let step = next(&gone(None), Some(&going), NOT_YET);
    assert_eq!(step, mark(Lane::NotReady, &removed(), &going));
}

#[test]
fn a_lost_workload_is_marked_and_a_found_one_marked_back() {
    let lost = ready(Status::Unknown, "HarnessUnreachable");
    let wanted = |ready| Desired::Marked {
        uid: "uid-1".to_owned(),
        ready,
    };
    let serving = stored(&spec(), Some(healthy()));
    let step = next(&wanted(lost.clone()), Some(&serving), NOT_YET);
    assert_eq!(step, mark(Lane::NotReady, &lost, &serving));
    let away = stored(&spec(), Some(lost));
    assert_eq!(
        next(&wanted(healthy()), Some(&away), NOT_YET),
        Step::Wait(Wait::Settled)
    );
    assert_eq!(
        next(&present(&spec(), healthy()), Some(&away), NOT_YET),
        Step::Wait(Wait::Settled)
    );
}

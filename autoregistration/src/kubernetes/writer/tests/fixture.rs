//! An API server that is made up, and a writer at a time of its own.

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::super::super::step::Write;
use super::super::super::workload::tests::spec;
use super::super::super::workload::{self, with_ready, with_spec};
use super::super::*;
use crate::store::{Ready, Spec, Stored};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn key(name: &str) -> Key {
    ("training".to_owned(), name.to_owned())
}

fn ready(status: Status, reason: &str) -> Ready {
    Ready {
        status,
        reason: reason.to_owned(),
        message: String::new(),
    }
}

pub(super) fn healthy() -> Ready {
    ready(Status::True, "ProbeSucceeded")
}

pub(super) fn failed() -> Ready {
    ready(Status::False, "ProbeFailed")
}

pub(super) fn at(last: u8) -> Spec {
    Spec {
        ips: vec![[10, 77, 0, last].into()],
        ..spec()
    }
}

pub(super) fn present(spec: Spec, ready: Ready) -> Desired {
    Desired::Present {
        spec: std::sync::Arc::new(spec),
        ready,
    }
}

pub(super) fn gone() -> Desired {
    Desired::Gone {
        uid: None,
        ready: ready(Status::False, "Removed"),
    }
}

/// A writer at a time of its own, and an API server.
pub(super) struct Bench {
    pub(super) writer: Writer,
    pub(super) now: Instant,
    pub(super) objects: BTreeMap<Key, Value>,
    pub(super) revision: u64,
    pub(super) writes: usize,
    /// What the watch has not told yet.
    pub(super) events: Vec<Event<kube::api::DynamicObject>>,
    pub(super) there: BTreeMap<Key, Stored>,
    pub(super) failed: Vec<(Key, Failure)>,
    pub(super) contested: Vec<Key>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let mut bench = Self {
            writer: Writer::new(&Scope::everywhere(), 1000, now),
            now,
            objects: BTreeMap::new(),
            revision: 10,
            writes: 0,
            events: Vec::new(),
            there: BTreeMap::new(),
            failed: Vec::new(),
            contested: Vec::new(),
        };
        bench.writer.watched(&Part::All, Event::Init, now);
        assert!(bench.writer.watched(&Part::All, Event::InitDone, now));
        bench
    }

    pub(super) fn wish(&mut self, name: &str, desired: Desired) {
        let wish = Wish {
            key: key(name),
            desired: Some(desired),
        };
        self.writer.wish(wish, self.now);
    }

    /// The next call, which has no answer yet.
    pub(super) fn call(&mut self) -> Option<Call> {
        self.writer.tick(self.now);
        self.writer.next(self.now)
    }

    pub(super) fn answer(&mut self, call: &Call, answer: Answer) {
        self.writer
            .answered(&call.key, &call.kind, answer, self.now);
        while let Some(news) = self.writer.news() {
            match news {
                News::All(all) => self.there = all,
                News::One(key, stored) => drop(self.there.insert(key, *stored)),
                News::Gone(key) => drop(self.there.remove(&key)),
                News::Contested(key) => self.contested.push(key),
                News::Failed { key, failure, .. } => self.failed.push((key, failure)),
            }
        }
    }

    /// What the API server does and answers.
    pub(super) fn carry_out(&mut self, call: &Call) -> Answer {
        let there = self.objects.get(&call.key).cloned();
        let field = |field: &str| there.as_ref().map(|it| it["metadata"][field].clone());
        let is_it = |version: &Version| {
            field("uid") == Some(json!(version.uid))
                && field("resourceVersion") == Some(json!(version.resource_version))
        };
        let read = |value: &Value| {
            let object = serde_json::from_value(value.clone()).unwrap();
            Answer::There(Box::new(workload::read(object).1))
        };
        let mut written = match &call.kind {
            Kind::Read => return there.as_ref().map_or(Answer::Gone, read),
            Kind::Write(Write::Create(_)) if there.is_some() => return Answer::Conflict,
            Kind::Write(Write::Create(spec)) => {
                let mut made = with_spec(&call.key, spec, None);
                made["metadata"]["uid"] = json!(format!("uid-{}", self.revision));
                made
            }
            Kind::Write(
                Write::Apply(version, _) | Write::Mark(version, _) | Write::Delete(version),
            ) if !is_it(version) => {
                return if there.is_some() {
                    Answer::Conflict
                } else {
                    Answer::Gone
                };
            }
            Kind::Write(Write::Apply(version, spec)) => {
                let mut made = with_spec(&call.key, spec, Some(version));
                if let Some(status) = there.as_ref().and_then(|it| it.get("status")) {
                    made["status"] = status.clone();
                }
                made
            }
            Kind::Write(Write::Mark(version, ready)) => {
                let status = with_ready(&call.key, ready, "2026-01-01T00:00:00Z", version);
                let mut made = there.unwrap();
                made["status"] = status["status"].clone();
                made
            }
            Kind::Write(Write::Delete(_)) => {
                let mut object = self.objects.remove(&call.key).unwrap();
                self.writes += 1;
                self.revision += 1;
                object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
                self.events
                    .push(Event::Delete(serde_json::from_value(object).unwrap()));
                return Answer::Gone;
            }
        };
        self.writes += 1;
        self.revision += 1;
        written["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.events.push(Event::Apply(
            serde_json::from_value(written.clone()).unwrap(),
        ));
        let answer = read(&written);
        self.objects.insert(call.key.clone(), written);
        answer
    }

    pub(super) fn hear(&mut self) {
        for event in std::mem::take(&mut self.events) {
            self.writer.watched(&Part::All, event, self.now);
        }
    }

    pub(super) fn list_slices(&mut self) {
        for namespace in self.writer.ask(self.now) {
            self.writer
                .listed(&namespace, Some(&BTreeSet::new()), self.now);
        }
    }

    /// Lets everything come to its end.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            self.list_slices();
            while let Some(call) = self.call() {
                let answer = self.carry_out(&call);
                self.answer(&call, answer);
            }
            self.hear();
            match self.writer.wake(self.now) {
                Some(wake) => self.now = wake.max(self.now),
                None => return,
            }
        }
        panic!("there is no end: {:?}", self.writer);
    }

    pub(super) fn stored(&self, name: &str) -> Option<Stored> {
        let object = self.objects.get(&key(name))?.clone();
        let object = serde_json::from_value(object).unwrap();
        Some(workload::read(object).1.stored)
    }

    pub(super) fn is_so(&self, name: &str, desired: &Desired) -> bool {
        match (desired, self.stored(name)) {
            (Desired::Present { spec, ready }, Some(it)) => {
                it.holds(spec) && it.readiness().same(ready)
            }
            (Desired::Gone { .. }, None) => true,
            _ => false,
        }
    }
}

//! Many VMs that come again wherever they can, as harnesses do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linkerd_harness_api::v1::{self, controller_message::Kind, health_report::State};
use tokio::task::JoinSet;

use super::mesh::until;
use super::vm::{Session, Vm, name};

/// Before a VM that was not let in tries again.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Fleet {
    shared: Arc<Mutex<Shared>>,
    size: usize,
    _vms: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    /// Where they can go.
    open: Vec<SocketAddr>,
    /// Where each that is a workload is.
    places: BTreeMap<u8, SocketAddr>,
    /// Why streams ended that were not sent away.
    lost: Vec<String>,
}

// === impl Fleet ===

impl Fleet {
    /// All are there, and well.
    pub(super) async fn start(size: u8, open: Vec<SocketAddr>) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            open,
            ..Shared::default()
        }));
        let mut vms = JoinSet::new();
        for number in 1..=size {
            vms.spawn(live(number, Arc::clone(&shared)));
        }
        let fleet = Self {
            shared,
            size: size.into(),
            _vms: vms,
        };
        fleet.are_there().await;
        fleet
    }

    pub(super) fn close(&self, addr: SocketAddr) {
        let mut shared = self.shared.lock().unwrap();
        shared.open.retain(|open| *open != addr);
    }

    pub(super) fn open(&self, addr: SocketAddr) {
        self.shared.lock().unwrap().open.push(addr);
    }

    /// All of them are workloads, at places that are open.
    pub(super) async fn are_there(&self) {
        until("all VMs are there", async || {
            let shared = self.shared.lock().unwrap();
            let there = |place: &&SocketAddr| shared.open.contains(place);
            (shared.places.values().filter(there).count() == self.size).then_some(())
        })
        .await;
    }

    /// Why streams ended before there was another.
    pub(super) fn lost(&self) -> Vec<String> {
        self.shared.lock().unwrap().lost.clone()
    }
}

async fn live(number: u8, shared: Arc<Mutex<Shared>>) {
    let mut vm = Vm::new(number);
    let mut old: Option<Session> = None;
    for turns in 0_usize.. {
        let place = {
            let shared = shared.lock().unwrap();
            let turn = turns + usize::from(number);
            shared.open.get(turn % shared.open.len().max(1)).copied()
        };
        let joined = match place {
            Some(place) => join(&mut vm, place).await,
            None => None,
        };
        let (Some(mut session), Some(place)) = (joined, place) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        drop(old.take());
        shared.lock().unwrap().places.insert(number, place);
        let end = session.sent_away().await;
        let mut shared = shared.lock().unwrap();
        shared.places.remove(&number);
        match end {
            None => old = Some(session),
            Some(end) => shared.lost.push(format!("vm-{number}: {end:?}")),
        }
    }
}

/// A stream on which it is a workload and well; `None` when there is none now.
async fn join(vm: &mut Vm, place: SocketAddr) -> Option<Session> {
    let mut session = vm.open(place).await.ok()?;
    let told = session
        .hears("assignment or end", |heard| match heard {
            Ok(Kind::Assignment(assignment)) => Some(Some(assignment)),
            Err(_) => Some(None),
            Ok(_) => None,
        })
        .await;
    let told: v1::Assignment = told?;
    assert!(!name(&told).is_empty());
    if vm.hello.health.as_ref().unwrap().state() == State::Starting {
        session.reports(State::Healthy).await;
        vm.is(State::Healthy);
    }
    Some(session)
}

//! All of the simulated harnesses.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use linkerd_harness_api::v1::health_report::State;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::seen::{Counts, Seen};
use crate::vm::{Order, Vm};
use crate::way::Lead;

/// Addresses are of 10.0.0.0/8.
const MOST: u32 = 1 << 24;
/// Between two looks at what they have seen.
const LOOK: Duration = Duration::from_millis(50);

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where `autoregistration` takes VMs.
    pub address: SocketAddr,
    /// How many VMs.
    pub vms: u32,
    /// On how many connections, each of an identity.
    pub connections: u32,
    /// Namespace and name of their group.
    pub group: (String, String),
    /// SPIFFE trust domain of the identities.
    pub trust_domain: String,
    /// Number of the first VM: those of another number are other machines.
    pub first: u32,
    /// Over which time they begin.
    pub over: Duration,
    /// Between two heartbeats; `None` leaves it to the assignment.
    pub heartbeat: Option<Duration>,
}

/// The VMs; they end with the value.
#[derive(Debug)]
pub struct Fleet {
    seen: Seen,
    ways: Vec<Lead>,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    _vms: JoinSet<()>,
}

// === impl Fleet ===

impl Fleet {
    /// Starts the VMs. They become members in their own time, see [`Self::until`].
    pub fn start(plan: &Plan) -> Result<Self> {
        if plan.connections == 0 || plan.first.saturating_add(plan.vms) >= MOST {
            bail!("VMs need a connection, and there are {MOST} addresses");
        }
        let identity = |number| {
            let id = format!("spiffe://{}/load/{number}", plan.trust_domain);
            id.parse().with_context(|| format!("{id} is no header"))
        };
        let ways = (0..plan.connections)
            .map(|number| Lead::new(plan.address, identity(number)?).context("make a connection"));
        let ways = ways.collect::<Result<Vec<_>>>()?;
        let seen = Seen::default();
        let (mut vms, mut orders) = (JoinSet::new(), Vec::new());
        for (index, way) in (0..plan.vms).zip(ways.iter().cycle()) {
            let (sender, receiver) = mpsc::unbounded_channel();
            let vm = Vm::new(plan, plan.first + index, way.way(), seen.clone(), receiver);
            let begin = plan.over * index / plan.vms.max(1);
            vms.spawn(vm.live(begin));
            orders.push(sender);
        }
        Ok(Self {
            seen,
            ways,
            orders,
            _vms: vms,
        })
    }

    /// What they have seen.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// New streams go to this replica from now on; those that are open stay where they are.
    pub fn aim(&self, address: SocketAddr) -> Result<()> {
        for way in &self.ways {
            way.aim(address).context("make a connection")?;
        }
        Ok(())
    }

    /// A VM reports this from now on.
    pub fn report(&self, vm: usize, state: State) {
        if let Some(orders) = self.orders.get(vm) {
            self.seen.count(|counts| counts.orders[0] += 1);
            // It ends with us only.
            let _ended = orders.send(Order::Report(state));
        }
    }

    /// Waits until `met` is so of what they have seen; an error says what they have seen instead.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        met: impl Fn(&Counts) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + deadline;
        loop {
            let counts = self.seen.counts();
            if met(&counts) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("not within {deadline:?}: {what}; {counts:#?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the newest report of every VM is acknowledged as persisted.
    pub async fn until_settled(&self, deadline: Duration) -> Result<()> {
        let all = self.orders.len() as u64;
        let settled = |counts: &Counts| {
            let [given, obeyed] = counts.orders;
            given == obeyed && counts.settled == all && counts.open == all
        };
        self.until("every VM's report is persisted", deadline, settled)
            .await
    }
}

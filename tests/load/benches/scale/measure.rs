//! One number of sessions, from the first `Hello` to a rolling restart.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use linkerd_harness_api::v1::health_report::State;
use load::latency::Latencies;
use load::{Fleet, Plan};

use crate::cluster::{Cluster, GROUP, NAMESPACE, Versions};
use crate::replica::{Replica, Usage};

/// Each with streams of an identity.
const CONNECTIONS: u32 = 100;
/// VMs whose health changes, one after the other and all at once.
const FLIPS: usize = 200;
/// A replica that was just started has not yet given back what loading took.
const REST: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) struct Setup {
    pub(crate) program: PathBuf,
    pub(crate) sessions: u32,
    pub(crate) writes_per_second: u32,
    /// How long nothing is done but heartbeats.
    pub(crate) steady: Duration,
}

#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) sessions: u32,
    /// From the first `Hello` until the last VM knows that it is ready.
    pub(crate) join: Duration,
    /// From a VM's first `Hello` to its assignment, half and 99 of 100.
    pub(crate) assigned: [Duration; 2],
    pub(crate) join_writes: u64,
    /// `Hello`s beyond the limit, which were told when to come again.
    pub(crate) come_again: u64,
    /// Of one CPU, in percent.
    pub(crate) join_cpu: f64,
    /// Of the idle replica, in KiB.
    pub(crate) idle: f64,
    /// For each session, in KiB: after the join, and after the heartbeats.
    pub(crate) resident: [f64; 2],
    /// For each workload, in KiB, in a replica that knows of all and has no session.
    pub(crate) known: f64,
    pub(crate) steady_cpu: f64,
    pub(crate) heartbeats: u64,
    /// By the replica's count, and by the versions of the objects.
    pub(crate) steady_writes: (u64, usize),
    pub(crate) flips_alone: Latencies,
    pub(crate) flips_at_once: Latencies,
    pub(crate) restart: Duration,
    pub(crate) restart_writes: (u64, usize),
    /// How streams ended other than well, over all of it.
    pub(crate) refused: Vec<(String, u64)>,
}

pub(crate) async fn measure(setup: &Setup) -> Result<Measured> {
    let cluster = Cluster::start(&setup.program)?;
    let start = |name| Replica::start(&setup.program, &cluster, name, setup.writes_per_second);
    let first = start("first")?;
    tokio::time::sleep(REST).await;
    let idle = first.usage()?;
    let per_session = |usage: Usage| (usage.resident - idle.resident) / f64::from(setup.sessions);

    let begun = Instant::now();
    let fleet = Fleet::start(&Plan {
        address: first.registration,
        vms: setup.sessions,
        connections: CONNECTIONS.min(setup.sessions),
        group: (NAMESPACE.to_owned(), GROUP.to_owned()),
        trust_domain: "root.linkerd.cluster.local".to_owned(),
        first: 1,
        over: Duration::ZERO,
        heartbeat: None,
    })?;
    fleet.until_settled(PATIENCE).await?;
    let join = begun.elapsed();
    let (joined, join_writes) = (first.usage()?, first.writes()?);
    let come_again = fleet.seen().counts().refused.get("RATE_LIMITED").copied();
    drop(fleet.seen().take_flips());
    println!(
        "{} joined in {join:.1?}, {join_writes} writes, {:.1} KiB each",
        setup.sessions,
        per_session(joined)
    );

    tokio::time::sleep(REST).await;
    let (versions, beats) = (cluster.versions()?, fleet.seen().counts().heartbeats);
    let (before, writes_before) = (first.usage()?, first.writes()?);
    tokio::time::sleep(setup.steady).await;
    let steady = first.usage()?;
    let steady_writes = first.writes()? - writes_before;
    let steady_changes = changes(&versions, &cluster.versions()?);
    let heartbeats = fleet.seen().counts().heartbeats - beats;
    println!(
        "steady for {:?}: {heartbeats} heartbeats, {:.1} % of a CPU, {steady_writes} writes, {steady_changes} changes",
        setup.steady,
        steady.percent_since(&before)
    );

    let flips = FLIPS.min(fleet.len() / 2);
    for vm in 0..flips {
        fleet.report(vm, State::Unhealthy);
        fleet.until_settled(PATIENCE).await?;
    }
    let flips_alone = fleet.seen().take_flips();
    for vm in flips..2 * flips {
        fleet.report(vm, State::Unhealthy);
    }
    fleet.until_settled(PATIENCE).await?;
    let flips_at_once = fleet.seen().take_flips();
    for (how, it) in [("alone", &flips_alone), ("at once", &flips_at_once)] {
        let [half, most] = [500, 990].map(|permille| it.permille(permille));
        println!("{} flips {how}: p50 {half:.1?}, p99 {most:.1?}", it.len());
    }

    let (versions, writes_before) = (cluster.versions()?, first.writes()?);
    let assigned_before = fleet.seen().counts().assigned;
    let begun = Instant::now();
    let second = start("second")?;
    let known = per_session(second.usage()?);
    fleet.aim(second.registration)?;
    let counted = first.writes()? - writes_before;
    first.stop()?;
    let all = assigned_before + u64::from(setup.sessions);
    fleet
        .until("all are on the other replica", PATIENCE, |counts| {
            counts.assigned >= all && counts.open == u64::from(setup.sessions)
        })
        .await?;
    let restart = begun.elapsed();
    // Were something to be written of them, it would be by now.
    tokio::time::sleep(REST).await;
    let restart_writes = counted + second.writes()?;
    let restart_changes = changes(&versions, &cluster.versions()?);

    let joins = fleet.seen().joins();
    Ok(Measured {
        sessions: setup.sessions,
        join,
        assigned: [joins.permille(500), joins.permille(990)],
        join_writes,
        come_again: come_again.unwrap_or_default(),
        join_cpu: joined.percent_since(&idle),
        idle: idle.resident,
        resident: [per_session(joined), per_session(steady)],
        known,
        steady_cpu: steady.percent_since(&before),
        heartbeats,
        steady_writes: (steady_writes, steady_changes),
        flips_alone,
        flips_at_once,
        restart,
        restart_writes: (restart_writes, restart_changes),
        refused: fleet.seen().counts().refused.into_iter().collect(),
    })
}

/// Workloads that are not as they were.
fn changes(before: &Versions, after: &Versions) -> usize {
    let same = after
        .iter()
        .filter(|(name, it)| before.get(*name) == Some(it));
    before.len().max(after.len()) - same.count()
}

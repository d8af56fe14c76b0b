use std::sync::Mutex;

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::proof::Direction;
use linkerd_harness_core::redirect::{Family, ProxyPorts};
use tokio::time::sleep;

use super::*;

/// Answers at once with the next of its answers, the last one for ever, and notes when it was asked for what.
#[derive(Clone, Debug)]
struct FakeProver(Arc<Mutex<Script>>);

#[derive(Debug)]
struct Script {
    answers: Vec<Result<Outcome, &'static str>>,
    asked: Vec<(Instant, Wish)>,
    takes: Duration,
}

impl Prover for FakeProver {
    async fn prove(&self, wish: Wish) -> Result<Vec<Shown>, String> {
        let (answer, takes) = {
            let mut script = self.0.lock().unwrap();
            script.asked.push((Instant::now(), wish));
            let answer = match script.answers.as_slice() {
                [last] => *last,
                _ => script.answers.remove(0),
            };
            (answer, script.takes)
        };
        sleep(takes).await;
        let shown = |outcome| Shown {
            direction: Direction::Inbound,
            family: Family::V4,
            outcome,
            message: String::new(),
        };
        answer
            .map(|outcome| vec![shown(outcome)])
            .map_err(str::to_owned)
    }
}

struct Running {
    prover: FakeProver,
    plan: watch::Sender<Option<Arc<Plan>>>,
    rules: watch::Sender<Redirection>,
    proxy: watch::Sender<proxy::State>,
    proofs: watch::Receiver<Option<Proof>>,
    _assignment: watch::Sender<Option<Arc<Assignment>>>,
}

impl Running {
    fn asked(&self) -> Vec<Instant> {
        let script = self.prover.0.lock().unwrap();
        script.asked.iter().map(|(at, _)| *at).collect()
    }

    fn apply(&self, repairs: u64) {
        self.rules.send_replace(Redirection {
            phase: Phase::Applied,
            repairs,
            last_repair: None,
        });
    }

    fn answers(&self, answers: &[Result<Outcome, &'static str>]) {
        self.prover.0.lock().unwrap().answers = answers.to_vec();
    }

    async fn outcome(&mut self, outcome: Option<Outcome>) {
        let wanted = |proof: &Option<Proof>| proof.as_ref().map(Proof::outcome) == outcome;
        self.proofs.wait_for(wanted).await.unwrap();
    }
}

fn start(answers: &[Result<Outcome, &'static str>]) -> Running {
    let prover = FakeProver(Arc::new(Mutex::new(Script {
        answers: answers.to_vec(),
        asked: vec![],
        takes: Duration::ZERO,
    })));
    let (plan, plan_in) = watch::channel(None);
    let (rules, rules_in) = watch::channel(Redirection::default());
    let (proxy, proxy_in) = watch::channel(serving());
    let (assignment, assignment_in) = watch::channel(None);
    let (proofs_out, proofs) = watch::channel(None);
    let inputs = Inputs {
        plan: plan_in,
        rules: rules_in,
        proxy: proxy_in,
        assignment: assignment_in,
    };
    tokio::spawn(keep(inputs, prover.clone(), proofs_out));
    Running {
        prover,
        plan,
        rules,
        proxy,
        proofs,
        _assignment: assignment,
    }
}

fn serving() -> proxy::State {
    proxy::State::Serving {
        pid: 1,
        since: SystemTime::UNIX_EPOCH,
        control_plane: true,
        unseen: false,
        version: None,
    }
}

fn mk_plan() -> Plan {
    let redirect = Redirect {
        inbound_ports: vec![],
        inbound_ignore: vec![],
        outbound_ignore: vec![],
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6: false,
        mode: Mode::Auto,
        failure_policy: FailurePolicy::Open,
    };
    let ports = ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4140,
        admin: vec![],
    };
    Plan::new(&redirect, ports, 1, [])
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn rules_are_tried_when_they_are_in_place_and_slowly_from_then_on() {
    let mut running = start(&[Ok(Outcome::Proven)]);
    running.plan.send_replace(Some(Arc::new(mk_plan())));
    sleep(HOUR).await;
    assert_eq!(running.asked(), [], "nothing is in place yet");
    running.apply(0);
    running.outcome(Some(Outcome::Proven)).await;
    assert_eq!(running.asked().len(), 1);
    sleep(HOUR * 10).await;
    let asked = running.asked();
    assert!((20..=30).contains(&asked.len()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn each_repair_is_followed_by_a_proof_but_a_storm_of_them_by_few() {
    let mut running = start(&[Ok(Outcome::Proven)]);
    running.plan.send_replace(Some(Arc::new(mk_plan())));
    running.apply(0);
    running.outcome(Some(Outcome::Proven)).await;
    let pauses = [100; 300].into_iter().chain([3000; 100]);
    for (repairs, pause) in (1..).zip(pauses) {
        running.rules.send_replace(Redirection {
            phase: Phase::Changing,
            repairs: repairs - 1,
            last_repair: None,
        });
        running.apply(repairs);
        sleep(Duration::from_millis(pause)).await;
    }
    sleep(SETTLE + APART).await;
    let asked = running.asked();
    assert!(
        (20..=40).contains(&asked.len()),
        "{}: {asked:?}",
        asked.len()
    );
    assert!(
        asked.windows(2).all(|two| two[1] - two[0] >= APART),
        "{asked:?}"
    );
    assert!(
        asked.last().unwrap().elapsed() < SETTLE + APART,
        "the last repair is proven"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_when_it_is_seen_twice_and_taken_back_soon() {
    let mut running = start(&[Ok(Outcome::Failed), Ok(Outcome::Proven)]);
    running.plan.send_replace(Some(Arc::new(mk_plan())));
    running.apply(0);
    running.proofs.changed().await.unwrap();
    assert_eq!(
        running
            .proofs
            .borrow_and_update()
            .as_ref()
            .map(Proof::outcome),
        Some(Outcome::Proven),
        "once is never"
    );
    running.answers(&[Ok(Outcome::Failed)]);
    running.apply(1);
    running.outcome(Some(Outcome::Failed)).await;
    let failed = Instant::now();
    running.answers(&[Ok(Outcome::Proven)]);
    running.outcome(Some(Outcome::Proven)).await;
    assert!(failed.elapsed() <= FAILED, "{:?}", failed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_during_which_the_rules_change_says_nothing() {
    let mut running = start(&[Ok(Outcome::Failed)]);
    running.prover.0.lock().unwrap().takes = Duration::from_secs(2);
    running.plan.send_replace(Some(Arc::new(mk_plan())));
    for repairs in 0..20 {
        running.apply(repairs);
        sleep(SETTLE + Duration::from_secs(1)).await;
    }
    assert!(!running.asked().is_empty());
    assert_eq!(*running.proofs.borrow_and_update(), None);
}

#[tokio::test(start_paused = true)]
async fn withdrawn_rules_have_no_proof_and_nobody_is_asked() {
    let mut running = start(&[Ok(Outcome::Proven)]);
    running.plan.send_replace(Some(Arc::new(mk_plan())));
    running.apply(0);
    running.outcome(Some(Outcome::Proven)).await;
    running.plan.send_replace(None);
    running.outcome(None).await;
    let asked = running.asked().len();
    sleep(HOUR * 3).await;
    assert_eq!(running.asked().len(), asked);
    running
        .plan
        .send_replace(Some(Arc::new(mk_plan().inbound_only())));
    running.outcome(Some(Outcome::Proven)).await;
    let script = running.prover.0.lock().unwrap();
    assert!(
        !script.asked.last().unwrap().1.outbound,
        "what is not redirected is not tried"
    );
}

#[tokio::test(start_paused = true)]
async fn rules_without_a_proxy_are_not_tried() {
    let mut running = start(&[Ok(Outcome::Failed)]);
    running.plan.send_replace(Some(Arc::new(mk_plan())));
    running.apply(0);
    running.outcome(Some(Outcome::Failed)).await;
    running.proxy.send_replace(proxy::State::Stopped);
    running.outcome(None).await;
    let asked = running.asked().len();
    sleep(HOUR).await;
    assert_eq!(running.asked().len(), asked);
    running.answers(&[Ok(Outcome::Proven)]);
    running.proxy.send_replace(serving());
    running.outcome(Some(Outcome::Proven)).await;
}

#[tokio::test(start_paused = true)]
async fn a_helper_that_is_not_there_is_no_failure() {
    let mut running = start(&[Err("nobody is there")]);
    running.plan.send_replace(Some(Arc::new(mk_plan())));
    running.apply(0);
    running.outcome(Some(Outcome::Untried)).await;
    let proof = running.proofs.borrow().clone().unwrap();
    assert_eq!(
        proof.to_string(),
        "inbound IPv4 (nobody is there), outbound IPv4 (nobody is there)"
    );
    assert_eq!(
        crate::proof::report(&crate::redirection::report::applied(), Some(&proof)),
        crate::redirection::report::applied()
    );
}

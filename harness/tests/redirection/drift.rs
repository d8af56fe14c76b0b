//! Others change our rules while the owner runs.

use std::io::{Read, Seek, Write};
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness::redirection::Phase;
use linkerd_harness::report::Report;
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::State;
use tokio::process::Command;
use tokio::time::timeout;

use crate::backends::name;
use crate::netns::Namespace;
use crate::owner::{LIMIT, Owner};
use crate::setup::{is_redirected, listing, mk_plan, state};

/// Whether the kernel tells of changes. Then no test lasts as long as it takes to look without a reason.
fn is_told(mode: Mode) -> bool {
    mode != Mode::Legacy
}

async fn start(mode: Mode) -> Owner {
    let sweep = Duration::from_millis(if is_told(mode) { 3_600_000 } else { 100 });
    Owner::start(mode, mk_plan(), sweep).await
}

/// Runs a program in the namespace while the owner goes on, and gives whether it succeeded.
async fn run(vm: &Namespace, program: &[&str], input: &str) -> bool {
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    stdin.rewind().unwrap();
    let output = Command::new("ip")
        .args(["netns", "exec", vm.name()])
        .args(program)
        .stdin(stdin)
        .output();
    output.await.unwrap().status.success()
}

/// What the log gets while this runs.
fn logged<T: Send>(vm: &Namespace, work: impl Future<Output = T> + Send) -> (T, String) {
    let mut log = tempfile::tempfile().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(Arc::new(log.try_clone().unwrap()))
        .finish();
    let result = vm.block_on(async {
        let _guard = tracing::subscriber::set_default(subscriber);
        work.await
    });
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();
    (result, text)
}

/// A program in words, and its input.
type Tampering = (String, &'static str);

fn mk_tampering(mode: Mode) -> Vec<Tampering> {
    let flush = ("nft flush ruleset".to_owned(), "");
    if mode == Mode::Nftables {
        let table = "inet linkerd_proxy_harness";
        let words = [
            format!("nft delete table {table}"),
            format!("nft flush table {table}"),
            format!("nft flush chain {table} output"),
            format!("nft insert rule {table} proxy_init_output ip protocol udp return"),
            format!("nft insert rule {table} prerouting tcp dport 1 accept"),
        ];
        return words
            .map(|words| (words, ""))
            .into_iter()
            .chain([flush])
            .collect();
    }
    let iptables = format!("iptables-{}", name(mode));
    let mut all = vec![
        (format!("{iptables} -w 5 -t nat -F"), ""),
        // Flushes, and deletes every chain, as `-t nat -F` and `-t nat -X` do.
        (format!("{iptables}-restore"), "*nat\nCOMMIT\n"),
        // From the middle of a chain.
        (format!("{iptables} -w 5 -t nat -D PROXY_INIT_OUTPUT 2"), ""),
        (
            format!("{iptables} -w 5 -t nat -I PROXY_INIT_OUTPUT 1 -p udp -j RETURN"),
            "",
        ),
        // Our jump moves behind another one.
        (
            format!("{iptables}-restore --noflush"),
            "*nat\n:OTHER - [0:0]\n-I PREROUTING 1 -p tcp -j OTHER\nCOMMIT\n",
        ),
    ];
    // Legacy tables know nothing of it.
    if mode != Mode::Legacy {
        all.push(flush);
    }
    all
}

pub(crate) fn each_kind_of_tampering_is_seen_repaired_and_told(mode: Mode) {
    let vm = Namespace::new("vm");
    for (program, input) in mk_tampering(mode) {
        let words: Vec<&str> = program.split(' ').collect();
        let (state_then, log) = logged(&vm, async {
            let mut owner = start(mode).await;
            assert!(run(&vm, &words, input).await, "{words:?}");
            let report = owner.reports(|report| report.reason == "Repaired").await;
            // The kernel keeps 15 bytes of a name.
            let writer = format!("by {} (pid ", words[0].get(..15).unwrap_or(words[0]));
            let unknown = "by another program (the kernel does not tell which";
            let named = if is_told(mode) { &writer } else { unknown };
            assert!(report.message.contains(named), "{words:?}: {report:?}");
            *owner.phase.borrow()
        });
        assert_eq!(
            (state_then.phase, state_then.repairs),
            (Phase::Applied, 1),
            "{words:?}"
        );
        assert!(state_then.last_repair.is_some());
        assert_eq!(state(&vm, mode, &mk_plan()), State::Applied, "{words:?}");
        let told: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
        assert!(
            told.len() == 1 && told[0].contains("rules had drifted, applied again"),
            "{words:?}: {log}"
        );
    }
}

/// What `netfilter-persistent` or a reload of `nftables.service` does, with rules that were saved while ours were there.
pub(crate) fn saved_rules_that_come_back_while_none_are_wanted_are_withdrawn(mode: Mode) {
    let vm = Namespace::new("vm");
    let ((), log) = logged(&vm, async {
        let mut owner = start(mode).await;
        let saved = listing(&vm, mode);
        assert!(is_redirected(&vm, mode));
        owner.plans.send_replace(None);
        owner.stands(Phase::Removed).await;
        assert!(!is_redirected(&vm, mode));

        let (restore, saved) = match mode {
            Mode::Nftables => (
                vec!["nft".to_owned(), "-f".to_owned(), "-".to_owned()],
                format!("flush ruleset\n{saved}"),
            ),
            _ => (
                vec![
                    format!("iptables-{}-restore", name(mode)),
                    "--wait=5".to_owned(),
                ],
                saved,
            ),
        };
        let restore: Vec<&str> = restore.iter().map(String::as_str).collect();
        assert!(run(&vm, &restore, &saved).await);
        let gone = async {
            while is_redirected(&vm, mode) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, gone).await.unwrap();
        assert_eq!(owner.phase.borrow().phase, Phase::Removed);
        assert_eq!(owner.phase.borrow().repairs, 0);
        assert_eq!(owner.reports.borrow().reason, "NotWanted");
        owner.plans.send_replace(Some(Arc::new(mk_plan())));
        owner.reports(|report| report.reason == "Applied").await;
    });
    let told: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(told.len() == 1 && told[0].contains("came back"), "{log}");
}

pub(crate) fn a_writer_that_fights_back_is_named_and_does_not_get_a_race(mode: Mode) {
    let vm = Namespace::new("vm");
    let undo = match mode {
        Mode::Nftables => "nft delete table inet linkerd_proxy_harness".to_owned(),
        _ => format!(
            "iptables-{} -w 5 -t nat -D PREROUTING -m addrtype --dst-type LOCAL -m comment --comment proxy-init/install-proxy-init-prerouting -j PROXY_INIT_REDIRECT",
            name(mode)
        ),
    };
    let undo: Vec<&str> = undo.split(' ').collect();
    let ((), log) = logged(&vm, async {
        let mut owner = start(mode).await;
        let mut reports = owner.reports.clone();
        let held = |report: &Report| report.message.contains("until the next repair");
        let fight = async {
            while !held(&reports.borrow_and_update()) {
                run(&vm, &undo, "").await;
            }
        };
        timeout(LIMIT, fight).await.unwrap();
        let report = owner.reports(held).await;
        let who = if is_told(mode) {
            undo[0]
        } else {
            "another program"
        };
        assert_eq!(report.reason, "Contested");
        assert!(report.message.starts_with(who), "{report:?}");
        assert!(
            report.message.contains("undid our rules 5 times"),
            "{report:?}"
        );
        let repairs = owner.phase.borrow().repairs;
        for _ in 0..10 {
            assert!(!run(&vm, &undo, "").await, "there is nothing to undo");
        }
        assert_eq!(owner.phase.borrow().phase, Phase::Changing);
        assert_eq!(owner.phase.borrow().repairs, repairs, "no race");
        // The writer is done: the next repair is the last one.
        owner
            .reports(|report| report.message.contains("rules are in place now"))
            .await;
        assert_eq!(owner.phase.borrow().phase, Phase::Applied);
    });
    let repairs = log.matches("rules had drifted").count();
    let fights = log.matches("undid our rules").count();
    assert_eq!((repairs, fights), (3, 1), "loud repairs, and fights: {log}");
    assert_eq!(state(&vm, mode, &mk_plan()), State::Applied);
}

#[test]
fn changes_of_others_that_leave_our_rules_alone_cost_few_looks_and_no_repair() {
    let vm = Namespace::new("vm");
    vm.block_on(async {
        vm.run(
            &["iptables-nft-restore"],
            "*filter\n:DOCKER - [0:0]\nCOMMIT\n*nat\n:DOCKER - [0:0]\nCOMMIT\n",
        );
        let mut owner = start(Mode::Nft).await;
        let (looks, heard) = (owner.looks(), owner.heard.borrow().all());
        // As Docker does: each line is a transaction.
        for table in ["nat", "filter"] {
            for port in 1..=50 {
                let rule = format!("add rule ip {table} DOCKER tcp dport {port} return");
                assert!(run(&vm, &["nft", &rule], "").await);
            }
        }
        timeout(LIMIT, async {
            while owner.heard.borrow().all() < heard + 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(owner.looks(), looks, "no look at what does not concern us");

        // Behind our jump, so it may concern us. Many more a second than there are looks.
        let rules: Vec<String> = (1..=1000)
            .map(|port| format!("add rule ip nat OUTPUT udp dport {port} return"))
            .collect();
        let rules = rules.join("\n") + "\n";
        assert!(run(&vm, &["nft", "-i"], &rules).await);
        let looks = owner.looks() - looks;
        assert!(
            (1..=100).contains(&looks),
            "{looks} looks at 1000 transactions"
        );
        assert_eq!(
            (owner.phase.borrow().phase, owner.phase.borrow().repairs),
            (Phase::Applied, 0)
        );
        // And the one among them that matters is not lost.
        let flush = ["nft", "flush", "chain", "ip", "nat", "PREROUTING"];
        assert!(run(&vm, &flush, "").await);
        let report = owner.reports(|report| report.reason == "Repaired").await;
        assert!(
            report.message.contains("PREROUTING has no jump"),
            "{report:?}"
        );
    });
}

#[test]
fn more_changes_than_the_kernel_can_tell_are_a_reason_to_look() {
    let vm = Namespace::new("vm");
    vm.block_on(async {
        let mut owner = start(Mode::Nft).await;
        let rule = "add rule ip filter DOCKER udp dport 1 return\n";
        let storm = "add table ip filter\nadd chain ip filter DOCKER\n".to_owned()
            + &rule.repeat(1000)
            + "flush chain ip nat PREROUTING\n";
        // Nobody listens meanwhile, for this holds the only thread: the last changes find no place in the socket's buffer.
        vm.run(&["nft", "-i"], &storm);
        owner.reports(|report| report.reason == "Repaired").await;
        let told = owner.heard.borrow().all();
        assert!(told < 1000, "{told} were told: this test proves nothing");
    });
}

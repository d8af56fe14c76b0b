use tokio::time::Instant;

use super::*;

fn mk_probe(port: u16) -> Probe {
    Probe {
        check: Check::TcpSocket {
            host: "127.0.0.1".to_owned(),
            port,
        },
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
    }
}

type Answer = Result<&'static str, &'static str>;

/// Gives its answers one after the other, and the last for ever.
struct Played(Vec<Answer>);

impl Ask for Played {
    async fn ask(&mut self) -> Result<String, String> {
        let answer = if self.0.len() == 1 {
            self.0[0]
        } else {
            self.0.remove(0)
        };
        answer.map(str::to_owned).map_err(str::to_owned)
    }
}

/// One told verdict: of which probe, after how many seconds, what.
type Told = (usize, u64, Outcome, String);

/// Runs probes with answers that are played, and gives what was told within `seconds`.
async fn play(probes: Vec<(Probe, Vec<Answer>)>, seconds: u64) -> Vec<Told> {
    let (results, mut news) = mpsc::channel(16);
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    let starts = spread(probes.len());
    for ((index, (probe, answers)), start) in probes.into_iter().enumerate().zip(starts) {
        let results = results.clone();
        running.spawn(async move {
            again_and_again(index, &probe, start, Played(answers), results).await;
        });
    }
    let mut told = Vec::new();
    let end = began + Duration::from_secs(seconds);
    while let Ok(Some((index, verdict))) = tokio::time::timeout_at(end, news.recv()).await {
        told.push((
            index,
            began.elapsed().as_secs(),
            verdict.outcome,
            verdict.got,
        ));
    }
    told
}

#[tokio::test(start_paused = true)]
async fn each_probe_has_its_own_delay_period_and_thresholds() {
    let slow = Probe {
        initial_delay: Duration::from_secs(60),
        period: Duration::from_secs(5),
        success_threshold: 2,
        failure_threshold: 1,
        ..mk_probe(1)
    };
    let told = play(
        vec![
            (
                mk_probe(0),
                vec![Err("refused"), Err("refused"), Ok("connected")],
            ),
            (slow, vec![Ok("connected"), Ok("connected"), Err("refused")]),
        ],
        100,
    )
    .await;
    let of = |port: u16, got: &str| format!("connect to 127.0.0.1:{port}: {got}");
    assert_eq!(
        told,
        [
            // Two failures of three that it takes, then a success.
            (0, 20, Outcome::Passes, of(0, "connected")),
            (1, 65, Outcome::Passes, of(1, "connected")),
            (1, 70, Outcome::Fails, of(1, "refused")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failing_probe_tells_other_words_once_each() {
    let answers = vec![
        Err("refused"),
        Err("refused"),
        Err("refused"),
        Err("refused"),
        Err("silent"),
    ];
    let told = play(vec![(mk_probe(0), answers)], 100).await;
    let words: Vec<_> = told
        .iter()
        .map(|(_, at, _, got)| (*at, got.as_str()))
        .collect();
    assert_eq!(
        words,
        [
            (20, "connect to 127.0.0.1:0: refused"),
            (40, "connect to 127.0.0.1:0: silent")
        ]
    );
}

#[test]
fn first_runs_are_spread_over_a_second_and_a_single_one_waits_for_nobody() {
    assert_eq!(spread(0).count(), 0);
    assert_eq!(spread(1).collect::<Vec<_>>(), [Duration::ZERO]);
    let starts: Vec<_> = spread(10).collect();
    let even = (0..10).map(|index| SPREAD / 10 * index);
    assert_eq!(starts, even.collect::<Vec<_>>());
    assert!(starts[9] < SPREAD);
}

#[tokio::test]
async fn a_program_is_not_run_where_it_is_not_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ran");
    let probe = Probe {
        check: Check::Exec {
            command: vec![
                "/usr/bin/touch".to_owned(),
                file.to_str().unwrap().to_owned(),
            ],
        },
        ..mk_probe(0)
    };
    let programs = Programs {
        allowed: false,
        user_id: nix::unistd::getuid().as_raw(),
    };
    let (results, mut news) = mpsc::channel(16);
    run(0, probe.clone(), Duration::ZERO, programs, results).await;
    let (_, verdict) = news.recv().await.unwrap();
    assert_eq!(verdict.outcome, Outcome::NotAllowed);
    assert!(news.recv().await.is_none());
    assert!(!file.exists());

    let (results, mut news) = mpsc::channel(16);
    let allowed = Programs {
        allowed: true,
        ..programs
    };
    let task = tokio::spawn(run(0, probe, Duration::ZERO, allowed, results));
    let (_, verdict) = news.recv().await.unwrap();
    assert_eq!(verdict.outcome, Outcome::Passes, "{}", verdict.got);
    assert!(file.exists());
    task.abort();
}

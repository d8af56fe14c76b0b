//! Stands in for linkerd2-proxy in `tests/proxy.rs`: same variables, ports, lines and exit codes, any behaviour.
//!
//! `FAKE_MODE` chooses the behaviour, `FAKE_DIR` is where events are recorded and switches are looked for: while the
//! file `expired`, `alone` or `closed` exists there, the certificate has expired, the policy controller is away, or
//! the inbound port is closed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it plays a program that logs to both"
)]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Fake {
    mode: String,
    dir: PathBuf,
    certified_at: SystemTime,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let value = |name: &str| environment.get(name).cloned().unwrap_or_default();
    let millis = |name: &str| Duration::from_millis(value(name).parse().unwrap_or_default());
    let fake = Arc::new(Fake {
        mode: value("FAKE_MODE"),
        dir: value("FAKE_DIR").into(),
        certified_at: SystemTime::now() + millis("FAKE_CERTIFIED_AFTER"),
    });
    fake.record("start");
    log(
        "INFO",
        "linkerd2_proxy: release 2.366.0 (29637b6) by linkerd on 2026-08-21T00:00:00Z",
    );
    if fake.mode == "usage" {
        log(
            "ERROR",
            "linkerd_app::env: LINKERD2_PROXY_X=\"30\" is not valid: NotADuration",
        );
        eprintln!("Invalid configuration: invalid environment variable");
        return ExitCode::from(64);
    }
    let Ok(inbound) = TcpListener::bind(value("LINKERD2_PROXY_INBOUND_LISTEN_ADDR")).await else {
        eprintln!("thread 'main' panicked at linkerd/app/src/lib.rs:1:1:");
        eprintln!("failed to bind inbound listener: Address already in use");
        return ExitCode::from(101);
    };
    let Ok(admin) = TcpListener::bind(value("LINKERD2_PROXY_ADMIN_LISTEN_ADDR")).await else {
        eprintln!("Initialization failure: Address already in use");
        return ExitCode::from(1);
    };
    let (Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return ExitCode::FAILURE;
    };
    let mut inbound = Some(inbound);
    match fake.mode.as_str() {
        "panic" => {
            eprintln!("thread 'admin' panicked at linkerd/proxy/spire-client/src/lib.rs:35:14:");
            eprintln!("spire client must gracefully handle errors");
            inbound = None;
        }
        "false-ready" => inbound = None,
        _ => {}
    }
    if fake.is_certified() && fake.mode != "panic" && fake.mode != "false-ready" {
        log(
            "INFO",
            "identity: linkerd_app: Certified identity id=spiffe://a/b",
        );
    }
    let life = if fake.mode == "mortal" {
        millis("FAKE_LIFE")
    } else {
        DAY
    };
    let end = tokio::time::sleep(life);
    tokio::pin!(end);
    loop {
        tokio::select! {
            Ok((stream, _)) = admin.accept() => {
                tokio::spawn(serve_admin(Arc::clone(&fake), stream));
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                if fake.has("closed") {
                    inbound = None;
                }
            }
            _ = term.recv() => {
                fake.record("term");
                if fake.mode != "deaf" {
                    break;
                }
            }
            _ = interrupt.recv() => fake.record("interrupt"),
            () = &mut end => {
                log("ERROR", "linkerd_app: out of luck");
                return ExitCode::from(3);
            }
        }
    }
    drop(inbound);
    ExitCode::SUCCESS
}

/// As the real one: the head comes in one segment, or the connection is closed.
async fn serve_admin(fake: Arc<Fake>, mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer).await {
        let head = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
        if read < 14 || !head.ends_with("\r\n\r\n") {
            return;
        }
        let (status, body) = fake.answer(head.split(' ').nth(1).unwrap_or_default());
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Fake {
    fn answer(&self, path: &str) -> (u16, String) {
        let broken = self.mode == "panic" || self.mode == "false-ready";
        match (self.mode.as_str(), path) {
            ("refused", _) => (403, String::new()),
            (_, "/ready") if broken || self.is_certified() => (200, "ready\n".into()),
            (_, "/ready") => (503, "not ready\n".into()),
            (_, "/metrics") => (200, self.metrics(!broken && self.is_certified())),
            _ => (404, String::new()),
        }
    }

    fn metrics(&self, certified: bool) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let expires = match (certified, self.has("expired")) {
            (false, _) => 0.0,
            (true, false) => (now + DAY).as_secs_f64(),
            (true, true) => now.as_secs_f64() - 1.0,
        };
        format!(
            "# filler {}\ncontrol_identity_cert_expiration_timestamp_seconds {expires}\n\
             control_identity_cert_refreshes_total{{result=\"ok\"}} {}\n\
             control_policy_balancer_endpoints{{endpoint_state=\"ready\",addr=\"x\"}} {}\n# EOF\n",
            "x".repeat(50_000),
            u8::from(certified),
            u8::from(!self.has("alone")),
        )
    }

    fn is_certified(&self) -> bool {
        self.mode != "uncertified" && SystemTime::now() >= self.certified_at
    }

    fn has(&self, switch: &str) -> bool {
        !self.dir.as_os_str().is_empty() && Path::new(&self.dir).join(switch).exists()
    }

    fn record(&self, event: &str) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("events"));
        let written = file.and_then(|mut file| writeln!(file, "{event} {}", std::process::id()));
        if let Err(error) = written {
            eprintln!("fake-proxy: cannot record {event}: {error}");
        }
    }
}

fn log(level: &str, text: &str) {
    println!("[     0.000123s] {level:>5} ThreadId(01) {text}");
}

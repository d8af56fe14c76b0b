//! The program itself: exit codes, what it says, signals.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStderr, Command};

use crate::lab::{DEADLINE, Files};
use crate::pki::{AUTOREGISTRATION, DESTINATION, dns};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autoregistration"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(arguments: &[String]) -> (Option<i32>, String) {
    let running = program().args(arguments).output();
    let output = tokio::time::timeout(DEADLINE, running)
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[tokio::test]
async fn wrong_usage_is_64_and_wrong_configuration_78_and_a_taken_port_71() {
    let (code, text) = output(&["--standalon".to_owned()]).await;
    assert_eq!(code, Some(64));
    assert!(text.contains("--standalone"), "{text}");

    let files = Files::new();
    files.write("manifests/bad.yaml", "kind: Service");
    let (code, text) = output(&files.arguments()).await;
    assert_eq!(code, Some(78));
    assert!(
        text.contains("`bad.yaml`, document 1, apiVersion: is missing"),
        "{text}"
    );
    files.remove("manifests/bad.yaml");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut arguments = files.arguments();
    *arguments.last_mut().unwrap() = addr.clone();
    let (code, text) = output(&arguments).await;
    assert_eq!(code, Some(71));
    assert!(
        text.contains(&format!("cannot listen on {addr} (--admin-listen)")),
        "{text}"
    );
}

/// Waits until the program has written `wanted`.
async fn says(lines: &mut Lines<BufReader<ChildStderr>>, wanted: &str, said: &mut Vec<String>) {
    let waiting = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push(line);
            if said.last().is_some_and(|line| line.contains(wanted)) {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(DEADLINE, waiting).await;
    assert_eq!(found, Ok(true), "`{wanted}` is not in {said:#?}");
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_warned_of() {
    let files = Files::new();
    let now = time::OffsetDateTime::now_utc();
    let names = vec![dns(AUTOREGISTRATION), dns(DESTINATION)];
    let leaf = files.root.leaf_with(names, |params| {
        params.not_before = now - time::Duration::days(10);
        params.not_after = now + time::Duration::hours(20);
    });
    files.write("tls.crt", &leaf.pem);
    files.write("tls.key", &leaf.key_pem);
    let mut child = program().args(files.arguments()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    says(&mut lines, "less than a tenth of its life left", &mut said).await;
    says(&mut lines, "serving", &mut said).await;
}

#[tokio::test]
async fn sigterm_ends_it_well() {
    let files = Files::new();
    let mut child = program().args(files.arguments()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    says(&mut lines, "serving", &mut said).await;
    let pid = child.id().unwrap().to_string();
    let killed = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .await
        .unwrap();
    assert!(killed.success());
    let status = tokio::time::timeout(DEADLINE + Duration::from_secs(2), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0));
    let rest = async {
        let mut rest = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            rest.push(line);
        }
        rest
    };
    let rest = tokio::time::timeout(DEADLINE, rest).await.unwrap();
    assert!(
        rest.iter().any(|line| line.contains("shutdown complete")),
        "{rest:#?}"
    );
}

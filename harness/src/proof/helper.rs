//! How the daemon, which may not try by itself, and root's helper talk: two small files.
//!
//! The daemon writes a request into its own directory, for which a path unit of systemd waits, and reads the answer from a
//! directory of root's. Root believes nothing of a request but the few values of [`Wish`], and follows no link on the way
//! to it; the daemon believes only root.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linkerd_harness_core::config::Config;
use linkerd_harness_core::redirect::ProxyPorts;
use linkerd_harness_core::redirect::proof::Wish;
use linkerd_harness_core::status::Shown;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::redirection::run_file;

/// In the daemon's directory; named in `linkerd-proxy-harness-proof.path`.
const REQUEST: &str = "prove";

/// In root's.
const ANSWER: &str = "proof.json";

/// For an answer: longer than the helper takes when nothing answers it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between looks at the answer.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) id: u32,
    /// What the daemon runs with: root's configuration may have been edited since.
    pub(super) rules: u64,
    outbound: bool,
    port: Option<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    id: u32,
    results: Vec<Shown>,
}

/// Something that tries what is asked.
pub trait Prover: Send + Sync {
    /// What was shown, or why nobody tried. May be dropped before its end.
    fn prove(&self, wish: Wish) -> impl Future<Output = Result<Vec<Shown>, String>> + Send;
}

/// Root's helper, as the daemon sees it.
#[derive(Clone, Debug)]
pub struct Helper {
    rules: u64,
    run_dir: PathBuf,
    answers: PathBuf,
}

impl Helper {
    /// `run_dir` is the daemon's, `answers` is root's.
    pub fn new(config: &Config, run_dir: &Path, answers: &Path) -> Self {
        Self {
            rules: fingerprint(config),
            run_dir: run_dir.to_owned(),
            answers: answers.to_owned(),
        }
    }
}

impl Prover for Helper {
    async fn prove(&self, wish: Wish) -> Result<Vec<Shown>, String> {
        let id = rand::random();
        let request = Request {
            id,
            rules: self.rules,
            outbound: wish.outbound,
            port: wish.port,
        };
        let text = serde_json::to_string(&request).map_err(|error| error.to_string())?;
        run_file::write(&self.run_dir, REQUEST, &text).map_err(|error| {
            format!(
                "cannot write `{}`: {error}",
                self.run_dir.join(REQUEST).display()
            )
        })?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            sleep(LOOK).await;
            if let Some(answer) = answer(&self.answers).filter(|answer| answer.id == id) {
                return Ok(answer.results);
            }
        }
        Err(format!(
            "no answer from linkerd-proxy-harness-proof.service in {} s (see: systemctl status linkerd-proxy-harness-proof.path linkerd-proxy-harness-proof.service)",
            PATIENCE.as_secs()
        ))
    }
}

/// What the daemon asks for at present; `None` where nothing that can be understood is asked.
pub(super) fn asked(run_dir: &Path) -> Option<Request> {
    let (text, _) = run_file::read(&run_dir.join(REQUEST)).ok()?;
    serde_json::from_str(&text).ok()
}

impl Request {
    pub(super) fn wish(&self) -> Wish {
        Wish {
            outbound: self.outbound,
            port: self.port,
        }
    }
}

/// Names what a configuration redirects, for one version of this program.
pub fn fingerprint(config: &Config) -> u64 {
    let mut hasher = DefaultHasher::new();
    let said = format!(
        "{:?} {:?} {:?}",
        config.redirect,
        ProxyPorts::of(config),
        config.proxy.user_id
    );
    hasher.write(said.as_bytes());
    hasher.finish()
}

/// Leaves the answer for the daemon.
pub(super) fn leave(answers: &Path, id: u32, results: Vec<Shown>) -> io::Result<()> {
    let text = serde_json::to_string(&Answer { id, results })?;
    run_file::write(answers, ANSWER, &text)
}

/// Root's answer, if it is root's.
fn answer(answers: &Path) -> Option<Answer> {
    let (text, owner) = run_file::read(&answers.join(ANSWER)).ok()?;
    (owner == 0).then(|| serde_json::from_str(&text).ok())?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn mk_dirs() -> (tempfile::TempDir, tempfile::TempDir) {
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_for_its_own_question_only() {
        let (run_dir, answers) = mk_dirs();
        leave(answers.path(), 7, vec![]).unwrap();
        let helper = Helper {
            rules: 1,
            run_dir: run_dir.path().to_owned(),
            answers: answers.path().to_owned(),
        };
        let wish = Wish {
            outbound: false,
            port: Some(80),
        };
        let silent = helper.prove(wish).await;
        assert!(silent.unwrap_err().contains("systemctl status"));
        let (prove, root) = (helper.prove(wish), async {
            sleep(LOOK / 2).await;
            let request = asked(run_dir.path()).unwrap();
            assert_eq!((request.wish(), request.rules), (wish, 1));
            leave(answers.path(), request.id, vec![]).unwrap();
        });
        assert_eq!(tokio::join!(prove, root).0, Ok(vec![]));
    }

    #[test]
    fn a_planted_request_or_answer_is_not_followed() {
        let (run_dir, elsewhere) = mk_dirs();
        let request = r#"{"id":1,"rules":1,"outbound":true,"port":null}"#;
        std::fs::write(elsewhere.path().join("request"), request).unwrap();
        let planted = run_dir.path().join(REQUEST);
        std::os::unix::fs::symlink(elsewhere.path().join("request"), &planted).unwrap();
        assert!(asked(run_dir.path()).is_none());
        std::fs::remove_file(&planted).unwrap();
        nix::unistd::mkfifo(&planted, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(asked(run_dir.path()).is_none());
        std::fs::remove_file(&planted).unwrap();
        for (text, understood) in [
            (request, true),
            ("", false),
            (r#"{"id":1,"rules":1,"outbound":true,"port":99999}"#, false),
            (
                r#"{"id":1,"rules":1,"outbound":true,"port":null,"host":"10.0.0.1"}"#,
                false,
            ),
        ] {
            std::fs::write(&planted, text).unwrap();
            assert_eq!(asked(run_dir.path()).is_some(), understood, "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_not_roots_is_not_believed() {
        let (_, answers) = mk_dirs();
        leave(answers.path(), 7, vec![]).unwrap();
        let file = answers.path().join(ANSWER);
        let own = std::fs::metadata(&file).unwrap().uid();
        assert_eq!(answer(answers.path()).is_some(), own == 0);
        if own == 0 {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
            assert!(answer(answers.path()).is_none());
        }
    }
}

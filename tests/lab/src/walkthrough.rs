//! What a person types, in order, and what has to come of it. The demo shows these steps; the tests run the same.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::docker;
use crate::exec::{self, Answer};
use crate::host::Host;
use crate::lab::Lab;
use crate::pki::TRUST_DOMAIN;
use crate::spire::BIN;

/// For what is only a matter of time: a probe's turn, an agent's sync.
const PATIENCE: Duration = Duration::from_secs(60);

/// Namespace of autoregistration in the walk-through.
pub const LINKERD: &str = "linkerd";

/// Where a step is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The VM of the walk-through.
    Vm,
    /// The second meshed host.
    Peer,
    /// The host without the mesh.
    Outsider,
}

/// One command and what has to come of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it is typed.
    pub place: Place,
    /// The command.
    pub command: String,
    /// All of these are in what it prints.
    pub prints: Vec<String>,
    /// Typed again until it does what it should, for this long.
    pub patience: Duration,
}

/// Steps with a title.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// What they are about.
    pub title: String,
    /// What is typed.
    pub steps: Vec<Step>,
}

/// A host that joins the mesh: names of the walk-through, or of its peer.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Where it is.
    pub place: Place,
    /// Namespace of its group.
    pub namespace: &'static str,
    /// Name of its group.
    pub group: &'static str,
    /// Last part of its SPIFFE ID.
    pub identity: &'static str,
}

/// The walk-through's VM.
pub const VM: Member = Member {
    place: Place::Vm,
    namespace: "training",
    group: "training-vm",
    identity: "proxy-harness",
};
/// The cluster's side.
pub const PEER: Member = Member {
    place: Place::Peer,
    namespace: "simple-app",
    group: "simple-app-v1",
    identity: "simple-app-v1",
};

impl Member {
    /// Its SPIFFE ID.
    pub fn spiffe_id(&self) -> String {
        format!("spiffe://{TRUST_DOMAIN}/{}", self.identity)
    }

    fn step(&self, command: impl Into<String>) -> Step {
        Step {
            place: self.place,
            command: command.into(),
            prints: Vec::new(),
            patience: Duration::ZERO,
        }
    }

    /// SPIRE's server and agent come up.
    pub fn spire(&self) -> Chapter {
        let token = format!(
            "{BIN}/spire-server token generate -spiffeID spiffe://{TRUST_DOMAIN}/agent -output json \\\n  \
             | sed 's/.*\"value\":\"\\([^\"]*\\)\".*/JOIN_TOKEN=\\1/' > /opt/spire/conf/agent/token.env"
        );
        Chapter {
            title: "SPIRE, under the Linkerd trust anchor".to_owned(),
            steps: vec![
                self.step("systemctl enable --now --quiet spire-server"),
                self.step(format!("{BIN}/spire-server healthcheck"))
                    .eventually()
                    .printing("Server is healthy."),
                self.step(token),
                self.step("systemctl enable --now --quiet spire-agent"),
                self.step(format!("{BIN}/spire-agent healthcheck"))
                    .eventually()
                    .printing("Agent is healthy."),
            ],
        }
    }

    /// The package.
    pub fn install(&self, package: &str) -> Chapter {
        let proxy =
            "install -D -m 0755 /opt/lab/bin/linkerd2-proxy /var/lib/linkerd/bin/linkerd2-proxy";
        Chapter {
            title: "The package, and the proxy".to_owned(),
            steps: vec![
                self.step(format!("cd && apt-get -y install ./{package}"))
                    .printing("Setting up linkerd-proxy-harness"),
                self.step("id proxyharness").printing("(proxyharness)"),
                self.step("systemctl is-active linkerd-proxy-harness || true")
                    .printing("inactive"),
                self.step(proxy),
            ],
        }
    }

    /// The SPIRE entry of the package's user.
    pub fn entry(&self) -> Chapter {
        let command = format!(
            "{BIN}/spire-server entry create -spiffeID {} \\\n  -parentID spiffe://{TRUST_DOMAIN}/agent \
             -selector unix:uid:$(id -u proxyharness)",
            self.spiffe_id()
        );
        Chapter {
            title: "The identity of the user that the package made".to_owned(),
            steps: vec![
                self.step(command)
                    .printing("Entry ID")
                    .printing(&self.spiffe_id()),
            ],
        }
    }

    /// The configuration.
    pub fn configure(&self) -> Chapter {
        self.configure_at(LINKERD)
    }

    /// The configuration, for autoregistration in `namespace`.
    pub fn configure_at(&self, namespace: &str) -> Chapter {
        let command = format!(
            "harnessctl set-config \\\n  --workload-group-name={} \\\n  --workload-group-namespace={} \\\n  \
             --control-plane-address=linkerd-autoregistration.{namespace}.svc.cluster.local.:8081 \\\n  \
             --control-plane-identity=linkerd-autoregistration.{namespace}.serviceaccount.identity.linkerd.cluster.local",
            self.group, self.namespace
        );
        Chapter {
            title: "Which group, which cluster".to_owned(),
            steps: vec![self.step(command).printing("Config updated")],
        }
    }

    /// The start, up to a certified proxy.
    pub fn start(&self) -> Chapter {
        Chapter {
            title: "Start".to_owned(),
            steps: vec![
                self.step("systemctl start linkerd-proxy-harness"),
                self.step("journalctl -u linkerd-proxy-harness --no-pager -o cat")
                    .eventually()
                    .printing("Certified identity"),
                self.step("iptables-save -t nat | grep PROXY_INIT")
                    .eventually()
                    .printing("-A PREROUTING"),
                self.step("curl -sSf http://127.0.0.1:4192/ready")
                    .eventually(),
                self.step("harnessctl wait --for=meshed --timeout=30s"),
                self.step("harnessctl status"),
            ],
        }
    }

    /// All of it, SPIRE first.
    pub fn join(&self, package: &str) -> Vec<Chapter> {
        self.join_at(LINKERD, package)
    }

    /// All of it, with autoregistration in `namespace`.
    pub fn join_at(&self, namespace: &str, package: &str) -> Vec<Chapter> {
        vec![
            self.spire(),
            self.install(package),
            self.entry(),
            self.configure_at(namespace),
            self.start(),
        ]
    }
}

impl Step {
    fn printing(mut self, text: &str) -> Self {
        self.prints.push(text.to_owned());
        self
    }

    fn eventually(mut self) -> Self {
        self.patience = PATIENCE;
        self
    }

    /// Types it. An error says which step, and what was printed instead.
    pub fn run(&self, lab: &Lab) -> Result<Answer> {
        let deadline = Instant::now() + self.patience;
        loop {
            let answer = self.attempt(lab);
            if answer.is_ok() || Instant::now() >= deadline {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn attempt(&self, lab: &Lab) -> Result<Answer> {
        let host = lab.host(self.place);
        let answer = host
            .sh(&self.command)?
            .ok()
            .with_context(|| format!("on {}", host.name()))?;
        for text in &self.prints {
            let printed = answer.text();
            ensure!(
                printed.contains(text),
                "on {}: `{}` did not print `{text}`, but:\n{}",
                host.name(),
                self.command,
                exec::indented(&printed)
            );
        }
        Ok(answer)
    }
}

/// The workload of the VM: a container with a published port.
pub fn workload() -> Chapter {
    let step = |command: &str| Step {
        place: Place::Vm,
        command: command.to_owned(),
        prints: Vec::new(),
        patience: Duration::ZERO,
    };
    Chapter {
        title: "The workload: a container with a published port".to_owned(),
        steps: vec![
            step("docker info --format 'Docker {{.ServerVersion}}'").eventually(),
            step(docker::IMPORT),
            step(docker::RUN),
            step("curl -sS http://127.0.0.1:80/ready")
                .eventually()
                .printing("Welcome from training-vm"),
        ],
    }
}

/// Traffic both ways, and from a host without the mesh.
pub fn traffic() -> Chapter {
    let step = |place, command: &str, prints: &str| Step {
        place,
        command: command.to_owned(),
        prints: vec![prints.to_owned()],
        patience: PATIENCE,
    };
    let (to_vm, to_app) = (
        "http://training-vm.training.svc.cluster.local:80",
        "http://simple-app-v1.simple-app.svc.cluster.local:80",
    );
    Chapter {
        title: "Traffic both ways".to_owned(),
        steps: vec![
            step(
                Place::Peer,
                &format!("curl -sS --max-time 5 {to_vm}"),
                "Welcome from training-vm",
            ),
            step(
                Place::Vm,
                &format!("curl -sSv --max-time 5 {to_app}"),
                "Simple App v1",
            ),
            step(
                Place::Outsider,
                &format!("curl -sS --max-time 5 {to_vm}"),
                "Welcome from training-vm",
            ),
        ],
    }
}

/// Is told what happens while the steps run.
pub trait Watcher {
    /// A chapter begins.
    fn begins(&mut self, chapter: &Chapter);
    /// A step did what it should.
    fn did(&mut self, step: &Step, answer: &Answer);
}

/// Watches and says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Watcher for Silent {
    fn begins(&mut self, _: &Chapter) {}
    fn did(&mut self, _: &Step, _: &Answer) {}
}

/// Runs the steps of `chapters` in order, up to the first that fails.
pub fn walk(lab: &Lab, chapters: &[Chapter], watcher: &mut dyn Watcher) -> Result<()> {
    for chapter in chapters {
        watcher.begins(chapter);
        for step in &chapter.steps {
            let answer = step
                .run(lab)
                .with_context(|| format!("chapter \"{}\"", chapter.title))?;
            watcher.did(step, &answer);
        }
    }
    Ok(())
}

impl Lab {
    /// The host of a step.
    pub fn host(&self, place: Place) -> &dyn Host {
        match place {
            Place::Vm => &self.vm,
            Place::Peer => &self.peer,
            Place::Outsider => &self.outsider,
        }
    }
}

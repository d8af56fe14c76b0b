//! `make demo`: the walk-through, typed before your eyes.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::exec::{self, Answer};
use crate::lab::Lab;
use crate::screen::{say, working};
use crate::walkthrough::{self, Chapter, PEER, Place, Silent, Step, VM, Watcher, walk};

/// Longest output that is shown whole, in lines.
const SCREENFUL: usize = 40;

/// Runs the demo; `keep` leaves the lab up.
pub fn run(program: &Path, keep: bool) -> Result<()> {
    let started = Instant::now();
    let lab = Lab::start(program)?;
    say(&format!(
        "\nThe lab is up after {:.0} s.",
        started.elapsed().as_secs_f64()
    ));
    say("  training-vm  10.77.0.4  a VM with Docker: the walk-through happens here");
    say("  simple-app   10.77.0.5  a VM that plays the cluster's side");
    say("  outsider     10.77.0.9  a host without the mesh");
    say("  control      10.77.0.2  autoregistration --standalone, and DNS");
    say(&format!("  {}", lab.products.proxy.describe()));
    let walked = tour(&lab);
    if let Err(error) = &walked {
        say(&format!("\n{}\n", lab.report()));
        say(&format!("The demo stopped: {error:#}"));
    }
    if keep {
        let shell = shell_of(&lab)?;
        lab.keep()?;
        say(&format!(
            "\nThe lab stays up. A shell in the VM:\n    {shell}\nTake it down:\n    make clean-lab"
        ));
    }
    walked
}

fn tour(lab: &Lab) -> Result<()> {
    let package = lab.package_name()?;
    working("the other meshed host joins, with the same steps", || {
        walk(lab, &PEER.join(&package), &mut Silent)
    })?;
    let mut chapters = VM.join(&package);
    // The container runs before the harness starts.
    chapters.insert(4, walkthrough::workload());
    chapters.push(walkthrough::traffic());
    walk(lab, &chapters, &mut Teller { chapters: 0 })?;
    crate::measure::summary(lab)
}

/// Shows each command as it was typed, what it printed, and how long it took.
#[derive(Debug)]
struct Teller {
    chapters: usize,
}

impl Watcher for Teller {
    fn begins(&mut self, chapter: &Chapter) {
        self.chapters += 1;
        say(&format!("\n{}. {}\n", self.chapters, chapter.title));
    }

    fn did(&mut self, step: &Step, answer: &Answer) {
        let host = match step.place {
            Place::Vm => "training-vm",
            Place::Peer => "simple-app",
            Place::Outsider => "outsider",
        };
        say(&format!("root@{host}:~# {}", step.command));
        let text = answer.text();
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let left_out = lines.len().saturating_sub(SCREENFUL);
        if left_out > 0 {
            say(&format!("    … {left_out} lines …"));
        }
        let shown: Vec<&str> = lines.into_iter().skip(left_out).collect();
        if !shown.is_empty() {
            say(&exec::indented(&shown.join("\n")));
        }
        say(&format!("    ({:.2} s)", answer.took.as_secs_f64()));
    }
}

fn shell_of(lab: &Lab) -> Result<String> {
    use crate::host::Host as _;
    Ok(format!("{} bash -l", lab.vm.entrance()?.join(" ")))
}

//! `lab`: the lab from a shell.

use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use lab::lab::Lab;
use lab::net::{self, Net};
use lab::products::Products;
use lab::run::{self, Run};
use lab::vm::{Plan, Vm};
use lab::{apiserver, demo, measure, rootfs, screen, spire};

#[derive(Parser)]
#[command(about = "Hosts, VMs and SPIRE on one machine, to try linkerd-proxy-harness in")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the walk-through step by step and shows it
    Demo {
        /// Leave the lab up
        #[arg(long)]
        keep: bool,
    },
    /// Measures speed and size, with repetitions and spread
    Bench,
    /// Brings the lab up and leaves it up, with nothing installed in the VMs
    Up,
    /// Brings up a network with one bare VM and waits (for the test of how a lab ends)
    #[command(hide = true)]
    Hold,
    /// Builds what every lab needs and is slow to make: Go programs, the root of the VMs, the package
    Prepare,
    /// Takes down every lab that is left, kept ones too
    Clean,
    /// Removes what the lab NAME left when its maker ends (used by the lab itself)
    #[command(hide = true)]
    Watch {
        /// Such as `l3fa2`
        name: String,
    },
}

fn main() -> ExitCode {
    match act(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn act(verb: Verb) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find our own binary")?;
    match verb {
        Verb::Demo { keep } => demo::run(&program, keep),
        Verb::Bench => measure::bench(&program),
        Verb::Up => {
            let lab = Lab::start(&program)?;
            screen::say(&format!("The lab `{}` is up.", lab.run.name()));
            lab.keep()
        }
        Verb::Hold => hold(&program),
        Verb::Prepare => prepare(),
        Verb::Clean => {
            screen::say(&format!("{} labs taken down", run::clean(true)?));
            Ok(())
        }
        Verb::Watch { name } => run::watch(&name),
    }
}

/// What waits for a mirror goes beside what needs the processors; API tests want theirs first.
fn prepare() -> anyhow::Result<()> {
    thread::scope(|scope| {
        let image = scope.spawn(rootfs::prepare);
        apiserver::prepare()?;
        Products::prepare()?;
        spire::Binaries::find()?;
        image
            .join()
            .map_err(|_panic| anyhow!("the thread that installs the VMs' root panicked"))?
            .map(drop)
    })
}

/// Makes a bit of everything that a lab makes, says its name, and waits to be killed.
fn hold(program: &Path) -> anyhow::Result<()> {
    let image = rootfs::prepare()?;
    let run = Run::start(program)?;
    let net = Net::make(&run)?;
    let _outsider = net.namespace("outsider", net::OUTSIDER)?;
    let plan = Plan {
        name: "training-vm",
        address: net::TRAINING_VM,
        docker: true,
        shared: Vec::new(),
    };
    let mut vm = Vm::make(&run, &image, &plan)?;
    vm.boot(&net)?;
    screen::say(run.name());
    loop {
        thread::park();
    }
}

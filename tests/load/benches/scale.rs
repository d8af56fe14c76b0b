//! What so many sessions cost one replica: the `autoregistration` that is shipped, as a process of its own, on a real API
//! server, with simulated harnesses. Nothing is asserted. Run by `make bench`; by hand:
//!
//! ```text
//! cargo build --release -p autoregistration
//! cargo bench -p load --bench scale -- 100 1000 10000
//! ```
//!
//! The numbers are those of sessions. `WRITES_PER_SECOND` is that flag's value, 400 unless set; `STEADY_SECONDS`, 60 unless set,
//! how long nothing is done but heartbeats; `AUTOREGISTRATION_BIN` names another program.
#![expect(clippy::print_stdout, reason = "prints what it measures")]

#[path = "scale/cluster.rs"]
mod cluster;
#[path = "scale/measure.rs"]
mod measure;
#[path = "scale/replica.rs"]
mod replica;
#[path = "scale/table.rs"]
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::measure::Setup;

const SESSIONS: [u32; 3] = [100, 1000, 10_000];
const WRITES_PER_SECOND: u32 = 400;
/// Two heartbeats of every VM.
const STEADY_SECONDS: u32 = 60;

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let numbers = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let numbers = numbers.map(|it| it.parse().with_context(|| format!("{it} is no number")));
    let mut sessions = numbers.collect::<Result<Vec<u32>>>()?;
    if sessions.is_empty() {
        sessions = SESSIONS.to_vec();
    }
    let writes_per_second = number("WRITES_PER_SECOND", WRITES_PER_SECOND)?;
    let steady = Duration::from_secs(number("STEADY_SECONDS", STEADY_SECONDS)?.into());
    let program = replica::program()?;
    println!(
        "one replica, {} CPUs, --writes-per-second {writes_per_second}, {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        program.display(),
    );
    let mut all = Vec::new();
    for sessions in sessions {
        let setup = Setup {
            program: program.clone(),
            sessions,
            writes_per_second,
            steady,
        };
        let measured = measure::measure(&setup).await;
        let measured = measured.with_context(|| format!("measure {sessions} sessions"))?;
        println!("streams that were refused or ended: {:?}", measured.refused);
        all.push(measured);
    }
    println!("{}", table::table(&all));
    Ok(())
}

fn number(variable: &str, otherwise: u32) -> Result<u32> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable} is no number")),
        Err(_) => Ok(otherwise),
    }
}

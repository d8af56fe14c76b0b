//! Whether a proxy that serves still lives, looked at more often than the truth about it: with `FailurePolicy: open` a
//! host gets its network back within a second.

use std::fs;
use std::io::Read as _;

use tokio::time::sleep;

use super::Timing;
use super::admin::Admin;
use super::listening::is_listening;

/// More than `/proc/<pid>/stat` has: 52 numbers and a name.
const STAT: usize = 2048;

/// What ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The inbound port takes no connections any more.
    Port,
    /// The process stands still: no answer, no CPU time used, nothing waiting for a CPU or a disk.
    Process,
}

/// Waits until a proxy that serves does not any more. One that is only slow, for the host is busy, does: its looks tell.
pub(super) async fn lost(mut admin: Admin, pid: u32, inbound_port: u16, timing: &Timing) -> Lost {
    loop {
        sleep(timing.pulse).await;
        if !is_listening(inbound_port, timing.pulse_timeout).await {
            return Lost::Port;
        }
        let before = cpu_ticks(pid);
        let answered = admin.answers(timing.pulse_timeout).await;
        if !answered && before.is_some() && cpu_ticks(pid) == before && !is_busy(pid) {
            return Lost::Process;
        }
    }
}

/// What the process has used, of its own and in the kernel.
fn cpu_ticks(pid: u32) -> Option<u64> {
    // All of it at once: what does not know its length is read in steps, and this is done all day.
    let mut stat = [0; STAT];
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut stat).ok()?;
    let stat = std::str::from_utf8(stat.get(..length)?).ok()?;
    let ticks: Vec<u64> = after_name(stat)?
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    (ticks.len() == 2).then(|| ticks.iter().sum())
}

/// Whether one of its threads has a CPU, or waits for one or for memory that is read back from disk.
fn is_busy(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| says_busy(&stat))
    })
}

fn says_busy(stat: &str) -> bool {
    let state = after_name(stat).and_then(|mut fields| fields.next());
    state.is_some_and(|state| ["R", "D"].contains(&state))
}

/// The fields of `/proc/<pid>/stat` (`proc_pid_stat(5)`) from the state on. The name before may hold anything.
fn after_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_host_has_its_network_back_within_a_second() {
        let timing = Timing::default();
        let noticed = timing.pulse + timing.pulse_timeout;
        // The rest is for taking the rules out: tens of milliseconds.
        assert!(noticed <= Duration::from_millis(800), "{noticed:?}");
    }

    #[test]
    fn the_kernel_tells_what_we_use() {
        let own = std::process::id();
        let before = cpu_ticks(own).unwrap();
        assert!(is_busy(own), "this very thread");
        let mut sum = 0_u64;
        while cpu_ticks(own).unwrap() <= before + 1 {
            sum = (0..100_000).fold(sum, u64::wrapping_add);
        }
        assert_eq!(cpu_ticks(u32::MAX), None);
        let stat = "1 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 11 12";
        assert_eq!(after_name(stat).unwrap().next(), Some("S"));
    }

    #[test]
    fn a_thread_that_waits_for_a_disk_does_not_stand_still() {
        for (state, busy) in [("R", true), ("D", true), ("S", false), ("T", false)] {
            assert_eq!(says_busy(&format!("1 (R D) {state} 1 2")), busy, "{state}");
        }
        assert!(!says_busy("1"));
    }
}

//! The lab itself leaves nothing on this machine, however it ends.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{cgroup, exec, place, poll, rootfs};

/// What a killed lab may not leave: namespaces, mounts, control groups, its directory.
fn traces(name: &str) -> Result<String> {
    let namespaces = exec::line("ip netns list")?.stdout;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let dir = place::runs().join(name);
    let groups: Vec<String> = cgroup::named(&format!("{name}-"))
        .iter()
        .map(|group| group.display().to_string())
        .collect();
    let lines = namespaces
        .lines()
        .filter(|line| line.starts_with(name))
        .map(str::to_owned);
    let lines = lines.chain(
        mounts
            .lines()
            .filter(|line| line.contains(&*dir.to_string_lossy()))
            .map(str::to_owned),
    );
    let dir = dir.exists().then(|| dir.display().to_string());
    Ok(lines
        .chain(groups)
        .chain(dir)
        .collect::<Vec<_>>()
        .join("\n"))
}

#[test]
fn a_lab_that_is_killed_is_cleared_away() -> Result<()> {
    // Made once; the wait below is for the lab only.
    rootfs::prepare()?;
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("hold")
        .stdout(Stdio::null())
        .spawn()?;
    let name = format!("l{:04x}", lab.id() & 0xffff);
    poll::until("the lab to come up", Duration::from_secs(60), || {
        ensure!(
            place::runs().join(&name).join("held").exists(),
            "it is not up yet"
        );
        Ok(())
    })?;
    ensure!(
        !traces(&name)?.is_empty(),
        "the lab that is up has no trace: the test looks in the wrong place"
    );
    lab.kill()?;
    lab.wait()?;
    poll::until("its traces to go", Duration::from_secs(30), || {
        let left = traces(&name)?;
        ensure!(left.is_empty(), "these are left:\n{left}");
        Ok(())
    })
}

//! The walk-through's workload: a container with a published port, in a VM that runs Docker.

use std::time::Duration;

use anyhow::Result;

use crate::host::Host as _;
use crate::vm::Vm;

/// The image is one static program. `docker import` makes an image of a tar file.
pub const IMPORT: &str = "tar -C /opt/lab/bin -c echo | docker import - echo:1";
/// As in the walk-through; the container is back after a reboot.
pub const RUN: &str = "docker run -d --restart=always --stop-timeout=1 --name=training -p 80:80 echo:1 /echo 80 'Welcome from training-vm'";

/// Starts it, and waits until it answers on the VM itself.
pub fn start(vm: &Vm) -> Result<()> {
    vm.eventually(
        "docker info --format '{{.ServerVersion}}'",
        Duration::from_secs(60),
        |_| true,
    )?;
    vm.get(IMPORT)?;
    vm.get(RUN)?;
    wait(vm)
}

/// Waits until the container answers on the VM itself.
pub fn wait(vm: &Vm) -> Result<()> {
    vm.eventually(
        "curl -sS --max-time 2 http://127.0.0.1:80/ready",
        Duration::from_secs(60),
        |body| body == "Welcome from training-vm\n",
    )?;
    Ok(())
}

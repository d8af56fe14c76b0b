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

/// Starts a second container, on the same bridge, without a published port.
pub fn start_neighbour(vm: &Vm) -> Result<()> {
    vm.get("docker run -d --restart=always --stop-timeout=1 --name=neighbour echo:1 /echo 80 'Hello from next door'")?;
    Ok(())
}

/// A container's address on Docker's bridge.
pub fn address(vm: &Vm, container: &str) -> Result<String> {
    vm.get(&format!(
        "docker inspect -f '{{{{.NetworkSettings.IPAddress}}}}' {container}"
    ))
}

/// The words before a command that runs it with the network of a container.
pub fn inside(container: &str) -> String {
    format!("nsenter -n -t $(docker inspect -f '{{{{.State.Pid}}}}' {container})")
}

//! What is on a VM's disk before its first boot.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Plan, Vm};
use crate::{exec, net};

/// The VM's side of its cable: the address is set by the VM, as netplan or cloud-init would.
const NETWORK_UNIT: &str = "[Unit]
Description=Address of eth0
Before=network.target network-online.target
After=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /opt/lab/network.sh
[Install]
WantedBy=multi-user.target network-online.target
";

/// Docker wants to write to its control groups. In systemd-nspawn those of version 1 come read-only; a second mount of
/// the same one, made from inside, is not. Before all services: a Go program keeps files there open.
const CGROUPS_UNIT: &str = "[Unit]
Description=Control groups that Docker can write to
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /opt/lab/cgroups.sh
[Install]
WantedBy=sysinit.target
";
const CGROUPS_SCRIPT: &str = "set -e
mounts=$(grep ' cgroup ro,' /proc/mounts) || exit 0
echo \"$mounts\" | while read -r _ point _ options _; do
  controller=$(echo \"$options\" | sed 's/^.*relatime,//')
  umount \"$point\"
  mount -t cgroup -o \"$controller\" cgroup \"$point\"
done
";

/// What a fresh server has on its disk.
pub(super) fn furnish(vm: &Vm, plan: &Plan<'_>) -> Result<()> {
    // Random, and its own: a copied disk with the machine id of another would be taken for that one.
    let machine_id =
        fs::read_to_string("/proc/sys/kernel/random/uuid").context("draw a machine id")?;
    vm.write("etc/machine-id", &machine_id.replace('-', ""))?;
    vm.write("etc/hostname", &format!("{}\n", vm.name))?;
    vm.write(
        "etc/hosts",
        &format!("127.0.0.1 localhost\n127.0.1.1 {}\n", vm.name),
    )?;
    vm.write("etc/resolv.conf", &net::resolv_conf())?;
    let script = format!(
        "set -e\nfor _ in $(seq 200); do ip link show eth0 >/dev/null 2>&1 && break; sleep 0.05; done\n\
         ip address replace {}/24 dev eth0\nip address replace {}/64 dev eth0 nodad\nip link set eth0 up\n\
         ip route replace default via {}\nip route replace default via {}\n",
        plan.address,
        net::v6(plan.address),
        net::GATEWAY,
        net::v6(net::GATEWAY)
    );
    vm.write("opt/lab/network.sh", &script)?;
    vm.write("etc/systemd/system/lab-network.service", NETWORK_UNIT)?;
    let mut units = vec!["lab-network.service"];
    if plan.docker {
        vm.write("opt/lab/cgroups.sh", CGROUPS_SCRIPT)?;
        vm.write("etc/systemd/system/lab-cgroups.service", CGROUPS_UNIT)?;
        units.extend([
            "lab-cgroups.service",
            "docker.service",
            "docker.socket",
            "containerd.service",
        ]);
    }
    vm.enable(&units)
}

/// The VM's disk at `dir/root`: a layer over `image` where the file system can do that, else a copy.
pub(super) fn disk(image: &Path, dir: &Path) -> Result<()> {
    let (root, upper, work) = (dir.join("root"), dir.join("upper"), dir.join("work"));
    for part in [&root, &upper, &work] {
        fs::create_dir_all(part).with_context(|| format!("make `{}`", part.display()))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        image.display(),
        upper.display(),
        work.display()
    );
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(&root);
    if exec::run(&mut mount)?.succeeded() {
        return Ok(());
    }
    exec::run(Command::new("cp").arg("-a").arg(image.join(".")).arg(&root))?.ok()?;
    Ok(())
}

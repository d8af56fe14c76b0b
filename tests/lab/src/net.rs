//! The network between the hosts: one bridge in a namespace of its own, so that nothing of it touches this machine.
//!
//! The bridge's own address is everybody's default gateway. It forwards the cluster IPs as kube-proxy would, so a host
//! without the mesh reaches a Service too.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::exec::{self, Answer};
use crate::host::Host;
use crate::run::Run;

/// The training VM, as in the walk-through's addresses.
pub const TRAINING_VM: &str = "10.77.0.4";
/// The second meshed host: the cluster's side.
pub const PEER: &str = "10.77.0.5";
/// Autoregistration and DNS.
pub const CONTROL: &str = "10.77.0.2";
/// A host without the mesh.
pub const OUTSIDER: &str = "10.77.0.9";
/// Cluster IP of Service `training-vm`.
pub const TRAINING_SERVICE: &str = "10.96.0.10";
/// Cluster IP of Service `simple-app-v1`.
pub const SIMPLE_APP_SERVICE: &str = "10.96.0.11";
/// The bridge, default gateway of all.
pub const GATEWAY: &str = "10.77.0.1";

/// A host's IPv6 address, beside the IPv4 address `v4`: `fd77::4` beside `10.77.0.4`. A private network, as Linkerd's
/// default of the cluster's networks has it.
pub fn v6(v4: &str) -> String {
    let host = v4.rsplit('.').next().unwrap_or(v4);
    format!("fd77::{host}")
}

/// How a host of the lab resolves names.
pub fn resolv_conf() -> String {
    format!("nameserver {CONTROL}\nsearch cluster.local svc.cluster.local\n")
}

/// The network of one lab.
#[derive(Debug)]
pub struct Net {
    prefix: String,
}

impl Net {
    /// Makes the bridge.
    pub fn make(run: &Run) -> Result<Self> {
        let net = Self {
            prefix: run.name().to_owned(),
        };
        let fabric = net.fabric();
        exec::line(&format!("ip netns add {fabric}"))?;
        exec::line(&format!(
            "ip -n {fabric} link add br0 type bridge forward_delay 0"
        ))?;
        exec::line(&format!("ip -n {fabric} address add {GATEWAY}/24 dev br0"))?;
        exec::line(&format!(
            "ip -n {fabric} address add {}/64 dev br0 nodad",
            v6(GATEWAY)
        ))?;
        exec::line(&format!("ip -n {fabric} link set br0 up"))?;
        exec::line(&format!("ip -n {fabric} link set lo up"))?;
        exec::line(&format!(
            "ip netns exec {fabric} sysctl -q -w net.ipv4.ip_forward=1"
        ))?;
        let rules = run.dir().join("kube-proxy.nft");
        fs::write(&rules, kube_proxy()).context("write the gateway's rules")?;
        exec::line(&format!(
            "ip netns exec {fabric} nft -f {}",
            rules.display()
        ))?;
        Ok(net)
    }

    /// The namespace of the bridge; a capture on `br0` there sees all that passes between hosts.
    pub fn fabric(&self) -> String {
        format!("{}-fabric", self.prefix)
    }

    /// A host that is a network namespace and nothing else.
    pub fn namespace(&self, name: &str, address: &str) -> Result<Namespace> {
        let netns = format!("{}-{name}", self.prefix);
        exec::line(&format!("ip netns add {netns}"))?;
        exec::line(&format!("ip -n {netns} link set lo up"))?;
        let etc = Path::new("/etc/netns").join(&netns);
        fs::create_dir_all(&etc).with_context(|| format!("make `{}`", etc.display()))?;
        fs::write(etc.join("resolv.conf"), resolv_conf())
            .context("write a namespace's resolv.conf")?;
        self.cable(name, &netns)?;
        exec::line(&format!("ip -n {netns} address add {address}/24 dev eth0"))?;
        exec::line(&format!(
            "ip -n {netns} address add {}/64 dev eth0 nodad",
            v6(address)
        ))?;
        exec::line(&format!("ip -n {netns} link set eth0 up"))?;
        exec::line(&format!("ip -n {netns} route add default via {GATEWAY}"))?;
        Ok(Namespace {
            name: name.to_owned(),
            netns,
        })
    }

    /// A cable from the bridge to a new `eth0` in the network namespace `target` (a name, or a process id).
    pub fn cable(&self, host: &str, target: &str) -> Result<()> {
        let (fabric, port) = (self.fabric(), format!("p-{host}"));
        // That of the VM's last boot may not have gone yet.
        let _none = exec::run(Command::new("ip").args(["-n", &fabric, "link", "del", &port]))?;
        exec::line(&format!(
            "ip -n {fabric} link add {port} type veth peer name eth0 address {} netns {target}",
            hardware_address(host)
        ))?;
        exec::line(&format!("ip -n {fabric} link set {port} master br0 up"))?;
        Ok(())
    }
}

/// A host keeps its hardware address over boots, as machines do: with a new one its neighbours would send to the old one until
/// their entry expires, which took the peer's proxy 45 s.
fn hardware_address(host: &str) -> String {
    let mut hasher = DefaultHasher::new();
    host.hash(&mut hasher);
    // 02: locally administered, one host.
    let own = hasher.finish().to_be_bytes();
    let own: Vec<String> = own
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("02:{}", own.join(":"))
}

/// What kube-proxy does for the lab's two Services.
fn kube_proxy() -> String {
    let forward = |service: &str, host: &str| {
        format!("    ip daddr {service} tcp dport 80 meta mark set 1 dnat to {host}:80\n")
    };
    format!(
        "table ip kube_proxy {{\n  chain services {{\n    type nat hook prerouting priority dstnat;\n{}{}  }}\n  \
         chain answers {{\n    type nat hook postrouting priority srcnat;\n    meta mark 1 masquerade\n  }}\n}}\n",
        forward(TRAINING_SERVICE, TRAINING_VM),
        forward(SIMPLE_APP_SERVICE, PEER),
    )
}

/// A host that is a network namespace and nothing else.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    netns: String,
}

impl Namespace {
    /// A command that runs there.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns]).arg(program);
        command
    }

    /// Opens a TCP connection from there to `address` and `port`; fails when it cannot.
    pub fn connects(&self, address: &str, port: u16) -> Result<Answer> {
        self.sh(&format!("timeout 2 bash -c '</dev/tcp/{address}/{port}'"))?
            .ok()
    }
}

impl Host for Namespace {
    fn name(&self) -> &str {
        &self.name
    }

    fn entrance(&self) -> Result<Vec<String>> {
        Ok(["ip", "netns", "exec", &self.netns]
            .map(str::to_owned)
            .into())
    }
}

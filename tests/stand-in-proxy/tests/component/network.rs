//! Two hosts: network namespaces joined by a cable, with the redirections of a meshed VM.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::{TcpListener, TcpStream};

/// The user of the proxies; its own connections are not redirected.
pub(crate) const PROXY_UID: u32 = 61_234;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with one address; gone with the value.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
}

/// Makes hosts `10.77.0.1` and `10.77.0.2`. Every pair is a world of its own.
pub(crate) fn pair() -> (Namespace, Namespace) {
    assert!(
        nix::unistd::Uid::effective().is_root(),
        "the traffic tests need root for network namespaces"
    );
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let mk = |side: &str, last: u8| {
        let name = format!("sip{}-{n}{side}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        Namespace {
            name,
            ip: Ipv4Addr::new(10, 77, 0, last).into(),
        }
    };
    let (a, b) = (mk("a", 1), mk("b", 2));
    run(&[
        "ip", "-n", &a.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
        "netns", &b.name,
    ]);
    for (host, peer) in [(&a, &b), (&b, &a)] {
        run(&[
            "ip",
            "-n",
            &host.name,
            "addr",
            "add",
            &format!("{}/24", host.ip),
            "dev",
            "eth0",
        ]);
        for link in ["lo", "eth0"] {
            run(&["ip", "-n", &host.name, "link", "set", link, "up"]);
        }
        // Cluster IPs need a route to any device; nobody has to be there.
        run(&[
            "ip",
            "-n",
            &host.name,
            "route",
            "add",
            "default",
            "via",
            &peer.ip.to_string(),
        ]);
    }
    (a, b)
}

impl Namespace {
    /// The redirections of a meshed VM.
    pub(crate) fn redirect(&self) {
        let rules = format!(
            "table ip mesh {{
                chain prerouting {{ type nat hook prerouting priority -100; tcp dport != 9999 redirect to :4143; }}
                chain output {{ type nat hook output priority -100;
                    meta skuid {PROXY_UID} return
                    oif lo return
                    meta l4proto tcp redirect to :4140
                }}
            }}"
        );
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin
            .take()
            .unwrap()
            .write_all(rules.as_bytes())
            .unwrap();
        assert!(nft.wait().unwrap().success());
    }

    /// The command line that runs a program here as the proxy's user.
    pub(crate) fn as_proxy(&self) -> Vec<String> {
        let uid = PROXY_UID.to_string();
        let words = [
            "ip",
            "netns",
            "exec",
            &self.name,
            "setpriv",
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// A listener that belongs to this namespace.
    pub(crate) fn listen(&self, addr: SocketAddr) -> TcpListener {
        let listener = self
            .inside(move || std::net::TcpListener::bind(addr))
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        TcpListener::from_std(listener).unwrap()
    }

    /// A connection from a program in this namespace.
    pub(crate) fn connect(&self, addr: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.inside(move || std::net::TcpStream::connect(addr))?;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    /// Sockets stay in the namespace they were made in; the thread that made them ends.
    fn inside<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        let made = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            make()
        });
        made.join().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(
            Command::new("ip")
                .args(["netns", "del", &self.name])
                .status(),
        );
    }
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

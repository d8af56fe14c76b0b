//! Two meshed hosts with everything that they need.

use crate::control_plane::{ControlPlane, World};
use crate::network::{self, Namespace};
use crate::pki::{Leaf, Root};
use crate::poll;
use crate::proxy::{Env, Proxy, request};
use crate::start::expect;
use crate::workload_api::{self, Answer};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) const CONTROL_NAME: &str =
    "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";

/// The names of a host in the mesh.
pub(crate) fn id(name: &str) -> String {
    format!("spiffe://root.linkerd.cluster.local/{name}")
}

pub(crate) fn server_name(name: &str) -> String {
    format!("{name}.ns.external.identity.linkerd.cluster.local")
}

pub(crate) struct Host {
    // The proxy goes before the namespace that it lives in.
    pub(crate) proxy: Proxy,
    pub(crate) svid: watch::Sender<Answer>,
    pub(crate) net: Namespace,
}

pub(crate) struct Pair {
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) control: ControlPlane,
    pub(crate) root: Root,
    _dir: tempfile::TempDir,
}

/// Both hosts up, certified and redirected; the control plane is reached over TLS.
pub(crate) async fn pair(world: World) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let root = Root::new();
    let control = ControlPlane::new(world);
    let (a, b) = network::pair();
    let certificate = root.server(CONTROL_NAME);
    let start = async |net: Namespace, name: &str| {
        let names = Names {
            id: id(name),
            server_name: server_name(name),
            leaf: root.svid(&id(name)),
        };
        let serve = net.listen(SocketAddr::new(net.ip, 8086));
        control.serve(serve, Some(certificate.clone()));
        host(name, net, names, &root, dir.path()).await
    };
    let (a, b) = (start(a, "vm-a").await, start(b, "vm-b").await);
    Pair {
        a,
        b,
        control,
        root,
        _dir: dir,
    }
}

/// Who a host is in the mesh.
pub(crate) struct Names {
    pub(crate) id: String,
    pub(crate) server_name: String,
    pub(crate) leaf: Leaf,
}

/// A host that is certified and redirected, once there is a control plane on its port 8086.
pub(crate) async fn host(
    name: &str,
    net: Namespace,
    names: Names,
    root: &Root,
    dir: &std::path::Path,
) -> Host {
    let socket = dir.join(format!("{name}.sock"));
    let svid = workload_api::serve(&socket, Ok((names.id.clone(), names.leaf)));
    let env = Env::from([
        (
            "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
            format!("unix:{}", socket.display()),
        ),
        ("IDENTITY_SERVER_ID", names.id),
        ("IDENTITY_SERVER_NAME", names.server_name),
        ("IDENTITY_TRUST_ANCHORS", root.pem()),
        ("DESTINATION_SVC_ADDR", format!("{}:8086", net.ip)),
        ("DESTINATION_SVC_NAME", CONTROL_NAME.into()),
        ("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8".into()),
        ("POLICY_SVC_ADDR", format!("{}:8086", net.ip)),
        ("POLICY_SVC_NAME", CONTROL_NAME.into()),
        (
            "POLICY_WORKLOAD",
            format!(r#"{{"ns":"ns","external_workload":"{name}"}}"#),
        ),
        ("INBOUND_DEFAULT_POLICY", "deny".into()),
        ("INBOUND_PORTS", "80".into()),
        ("INBOUND_IPS", net.ip.to_string()),
        ("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "50ms".into()),
        ("OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "200ms".into()),
        ("LOG", "warn,linkerd=debug".into()),
    ]);
    let through = net.as_proxy();
    let through: Vec<&str> = through.iter().map(String::as_str).collect();
    let proxy = Proxy::spawn(&through, &env, dir, name);
    let host = Host { proxy, svid, net };
    poll::until("the admin port's policy is there", || async {
        let stream = host.net.connect(([127, 0, 0, 1], 4191).into());
        match stream {
            Ok(stream) => expect(request(stream, "admin", "/ready", "").await, 200, "ready\n"),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    host.net.redirect();
    host
}

impl Host {
    pub(crate) fn addr(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.net.ip, port)
    }

    pub(crate) async fn metrics(&self) -> String {
        let stream = self.net.connect(([127, 0, 0, 1], 4191).into()).unwrap();
        request(stream, "admin", "/metrics", "").await.unwrap().1
    }

    /// A request of a program on this host.
    pub(crate) async fn get(
        &self,
        addr: SocketAddr,
        host: &str,
        headers: &str,
    ) -> std::io::Result<(u16, String)> {
        request(self.net.connect(addr)?, host, "/", headers).await
    }

    /// A web server that answers with who called it: the peer's IP, and the request's head.
    pub(crate) fn serve_web(&self, port: u16) {
        let listener = self.net.listen(self.addr(port));
        tokio::spawn(web(listener));
    }
}

async fn web(listener: TcpListener) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = Vec::new();
            loop {
                match stream.read_buf(&mut head).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) if !head.ends_with(b"\r\n\r\n") => continue,
                    Ok(_) => {}
                }
                let body = format!(
                    "from {}\n{}",
                    peer.ip(),
                    String::from_utf8_lossy(&head).to_ascii_lowercase()
                );
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                head.clear();
            }
        });
    }
}

//! Streams that are not HTTP: copied to the application while policy allows them.

use super::{Connection, Inbound};
use crate::drain;
use crate::io::{BoxIo, within};
use crate::labels;
use crate::open::{Counted, Open};
use std::io;
use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tracing::info;

pub(super) struct Tcp<'a> {
    pub(super) inbound: &'a Inbound,
    pub(super) connection: Connection,
}

impl Tcp<'_> {
    /// Copies until one side closes or the policy changes its mind. A drain waits for it, as in the real proxy.
    pub(super) async fn forward(self, mut io: BoxIo, _drain: &drain::Watch) -> io::Result<()> {
        let Connection {
            client,
            dst,
            tls,
            mut policy,
        } = self.connection;
        let metrics = &self.inbound.metrics;
        let server = policy.current().meta.labels("srv");
        let base = format!(
            r#"{},{server},srv_port="{}",{tls}"#,
            labels::target(dst),
            dst.port()
        );
        let Some(allowed) = policy
            .current()
            .permit_tcp(client.ip(), &tls)
            .map(|allowed| allowed.meta.labels("authz"))
        else {
            metrics.count("inbound_tcp_authz_deny_total", &base);
            info!(target: "linkerd_app_inbound::policy::tcp", client = %client, "Connection denied");
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "unauthorized connection",
            ));
        };
        metrics.count(
            "inbound_tcp_authz_allow_total",
            &format!("{base},{allowed}"),
        );
        let _open = Open::new(
            &self.inbound.metrics,
            format!(r#"direction="inbound",peer="src",{base}"#),
        );
        let mut app = connect(self.inbound, dst).await?;
        let copy = copy_bidirectional(&mut io, &mut app);
        let mut copy = std::pin::pin!(copy);
        loop {
            tokio::select! {
                copied = copy.as_mut() => return copied.map(|_| ()),
                () = policy.changed() => {
                    if policy.current().permit_tcp(client.ip(), &tls).is_none() {
                        metrics.count("inbound_tcp_authz_terminate_total", &base);
                        info!(target: "linkerd_app_inbound::policy::tcp", client = %client, "Connection terminated due to policy change");
                        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "unauthorized connection"));
                    }
                }
            }
        }
    }
}

/// Dials the application where the client was going, never this proxy itself.
pub(super) async fn connect(inbound: &Inbound, dst: SocketAddr) -> io::Result<Counted<TcpStream>> {
    if dst.port() == inbound.config.listen.port() {
        return Err(io::Error::other(format!(
            "inbound connection must not target port {}",
            dst.port()
        )));
    }
    let limit = inbound.config.connect.timeout;
    let stream = within(limit, "connect", TcpStream::connect(dst)).await?;
    crate::socket::tune(&stream, inbound.config.connect.socket);
    let labels = r#"direction="inbound",peer="dst",tls="no_identity",no_tls_reason="loopback""#;
    Ok(Counted::new(
        stream,
        Open::new(&inbound.metrics, labels.to_owned()),
    ))
}

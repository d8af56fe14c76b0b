//! Hears from the kernel that the packet filter was changed. Thin: what a message means is
//! [`linkerd_harness_core::redirect::netlink`].

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::netlink::{Reader, Transaction};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info};

use super::heard::Heard;

/// `NFNLGRP_NFTABLES`, the seventh, as a bit.
const GROUP: u32 = 1 << 6;

/// More than the kernel puts into one datagram; one that fills it may have been cut.
const DATAGRAM: usize = 1 << 16;

/// After a failure that is not one of the socket's ordinary ones.
const RETRY: Duration = Duration::from_secs(10);

/// Hears of each change in this network namespace, and never ends. Where the kernel does not tell, nothing is heard, and
/// whoever watches `heard` has to look from time to time.
///
/// Changes through `iptables-legacy` are not told. To a host that uses it, `nf_tables` is listened to only where it is loaded
/// (to listen would load it), and its writers are not named: they are not who changed legacy rules.
pub async fn listen(backend: Backend, heard: watch::Sender<Heard>) {
    if backend == Backend::Legacy && !Path::new("/sys/module/nf_tables").exists() {
        debug!("nf_tables is not loaded: rules are compared every few seconds only");
        return std::future::pending().await;
    }
    let mut reader = Reader::new(backend);
    let mut said = false;
    loop {
        let error = match subscribe() {
            Ok(socket) => {
                debug!("the kernel tells of changes to nf_tables");
                // Of legacy rules it tells nothing.
                heard.send_modify(|heard| heard.set_complete(backend != Backend::Legacy));
                if said {
                    // Whatever happened meanwhile.
                    note(&heard, backend, [reader.lost()]);
                    said = false;
                }
                let error = hear(&socket, &mut reader, |transactions| {
                    note(&heard, backend, transactions);
                });
                let error = error.await;
                heard.send_modify(|heard| heard.set_complete(false));
                // Whatever is happening now.
                note(&heard, backend, [reader.lost()]);
                error
            }
            Err(error) => error,
        };
        if !said {
            info!(%error, "the kernel does not tell of changes to nf_tables: rules are compared every few seconds only");
            said = true;
        }
        sleep(RETRY).await;
    }
}

/// Needs `CAP_NET_ADMIN`.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe; what it demands, that the descriptor stays open and the same, is what an OwnedFd is"
)]
fn subscribe() -> io::Result<AsyncFd<OwnedFd>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkNetFilter,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Reads until reading fails.
async fn hear(
    socket: &AsyncFd<OwnedFd>,
    reader: &mut Reader,
    mut tell: impl FnMut(Vec<Transaction>),
) -> io::Error {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = socket.async_io(Interest::READABLE, |socket| {
            Ok(recvfrom::<NetlinkAddr>(socket.as_raw_fd(), &mut buffer)?)
        });
        let transactions = match received.await {
            // From the kernel. Others may write to us when they have CAP_NET_ADMIN, but not in its name.
            Ok((length, Some(from))) if from.pid() == 0 => match buffer.get(..length) {
                Some(datagram) if length < DATAGRAM => reader.read(datagram),
                _ => vec![reader.lost()],
            },
            Ok(_) => continue,
            // More than we read in time: something was changed, and we will never know by whom.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                vec![reader.lost()]
            }
            Err(error) => return error,
        };
        tell(transactions);
    }
}

/// Wakes those who watch only for what concerns us.
fn note(
    heard: &watch::Sender<Heard>,
    backend: Backend,
    transactions: impl IntoIterator<Item = Transaction>,
) {
    heard.send_if_modified(|heard| {
        let mut concerns_us = false;
        for mut transaction in transactions {
            if backend == Backend::Legacy {
                transaction.writer = None;
            }
            concerns_us |= heard.add(transaction);
        }
        concerns_us
    });
}

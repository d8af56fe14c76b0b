//! How the VMs of one identity reach a replica: over one connection, as behind a Linkerd proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Error};

/// As Linkerd's proxy has it towards an application.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 65_535;
/// A replica that is going down may be slow, one that is gone refuses at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The way of one identity; clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) identity: MetadataValue<Ascii>,
    channel: watch::Receiver<Channel>,
}

/// Leads all ways of one identity.
#[derive(Debug)]
pub(crate) struct Lead {
    way: Way,
    channel: Arc<watch::Sender<Channel>>,
}

// === impl Lead ===

impl Lead {
    /// Nothing is dialled before the first stream.
    pub(crate) fn new(addr: SocketAddr, identity: MetadataValue<Ascii>) -> Result<Self, Error> {
        let (sender, channel) = watch::channel(dial(addr)?);
        Ok(Self {
            way: Way { identity, channel },
            channel: Arc::new(sender),
        })
    }

    pub(crate) fn way(&self) -> Way {
        self.way.clone()
    }

    /// New streams go here from now on; those that are open stay where they are.
    pub(crate) fn aim(&self, addr: SocketAddr) -> Result<(), Error> {
        let channel = dial(addr)?;
        self.channel.send_replace(channel);
        Ok(())
    }
}

// === impl Way ===

impl Way {
    pub(crate) fn channel(&self) -> Channel {
        self.channel.borrow().clone()
    }
}

fn dial(addr: SocketAddr) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW);
    Ok(endpoint.connect_lazy())
}

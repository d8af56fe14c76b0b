//! Behind the pod's Linkerd proxy: HTTP/2 in the clear, whose header `l5d-client-id` says who the client is.
//!
//! The header is worth as much as the certainty that the proxy set it. So a connection counts only when it comes from
//! within the pod ([`PodIps`]), and the chart's `Server` makes the proxy treat the port as gRPC: bytes that a proxy only
//! passes on, as it does on an opaque port, would keep the header that the client wrote.

mod connections;
mod peer;
mod pod_ips;

use std::future::Future;

use crate::metrics::Metrics;
use crate::process;
use crate::registration::{REQUEST_TIMEOUT, Registration};
pub use connections::Accept;
pub use peer::Peer;
pub(crate) use peer::unknown;
pub use pod_ips::PodIps;

/// One connection carries the streams of all VMs of one identity; one too many would hang without a word.
const STREAMS: u32 = 1 << 20;
/// What one stream may send before we have read it: the largest message. A stream of which nothing is read keeps this
/// much of the connection's window from the others ...
const STREAM_WINDOW: u32 = 64 * 1024;
/// ... and this is 256 such. We read every stream to its end as it comes, so that none is such a one for long.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Streams that end before we have taken them. The default of 20 ends the connection, here of all VMs of an identity,
/// when a few of them give up at once while we are busy. Floods of it are for the proxy to stop, which sees who does it.
const EARLY_RESETS: usize = 1000;

/// Serves registration behind the pod's Linkerd proxy, until `stop`.
///
/// There is no greatest age of connections here: its end would be that of all streams of an identity at once.
///
/// # Errors
///
/// As tonic's server, of which none is expected: what goes wrong with one connection ends that one.
pub async fn serve(
    listener: impl Accept,
    pod: PodIps,
    registration: Registration,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    process::server(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_pending_accept_reset_streams(Some(EARLY_RESETS))
        .timeout(REQUEST_TIMEOUT)
        .add_service(registration.behind_sidecar().into_server())
        .serve_with_incoming_shutdown(connections::connections(listener, pod, metrics), stop)
        .await
}

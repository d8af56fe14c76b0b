//! The client of SPIFFE's Workload API, as far as the proxy uses it: one call, one stream.

use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Fetch {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<Svid>,
}

/// One identity; the bundle that SPIRE sends along is not read, trust comes from the environment alone.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// The leaf and its intermediates in DER, one after the other.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) chain: Vec<u8>,
    /// PKCS#8 in DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct WorkloadApi(Channel);

impl WorkloadApi {
    /// Opens the socket; later connections are made by need, over the same path.
    pub(super) async fn connect(path: &str) -> Result<Self, tonic::transport::Error> {
        let path = PathBuf::from(path);
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The URI is never looked at: the connector goes to the socket.
        Endpoint::from_static("http://workload-api.invalid")
            .connect_with_connector(connector)
            .await
            .map(Self)
    }

    /// Asks for the SVIDs; new ones follow on the same stream.
    pub(super) async fn fetch(&self) -> Result<Streaming<Response>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(Fetch {});
        request
            .metadata_mut()
            .insert("workload.spiffe.io", MetadataValue::from_static("true"));
        let path = http::uri::PathAndQuery::from_static("/SpiffeWorkloadAPI/FetchX509SVID");
        let codec = ProstCodec::<Fetch, Response>::default();
        Ok(grpc
            .server_streaming(request, path, codec)
            .await?
            .into_inner())
    }
}

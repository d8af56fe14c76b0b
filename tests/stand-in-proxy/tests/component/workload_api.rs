//! A Workload API on a Unix socket that says what the test wants.

use crate::pki::Leaf;
use futures::stream::BoxStream;
use std::convert::Infallible;
use std::path::Path;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Request, Response, Status};

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Fetch {}

#[derive(Clone, PartialEq, prost::Message)]
struct Svids {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    x509_svid_key: Vec<u8>,
}

/// What a caller is told; a refusal ends its stream.
pub(crate) type Answer = Result<(String, Leaf), Status>;

/// Serves until the test ends; a new answer goes out on the open streams.
pub(crate) fn serve(socket: &Path, answer: Answer) -> watch::Sender<Answer> {
    let (tx, rx) = watch::channel(answer);
    let listener = UnixListener::bind(socket).unwrap();
    // The proxies of the traffic tests run as another user.
    std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(Api(rx))
            .serve_with_incoming(incoming),
    );
    tx
}

#[derive(Clone)]
struct Api(watch::Receiver<Answer>);

impl tonic::server::NamedService for Api {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

impl tonic::server::ServerStreamingService<Fetch> for Api {
    type Response = Svids;
    type ResponseStream = BoxStream<'static, Result<Svids, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Fetch>) -> Self::Future {
        let mut answers = self.0.clone();
        Box::pin(async move {
            if request
                .metadata()
                .get("workload.spiffe.io")
                .is_none_or(|value| value != "true")
            {
                return Err(Status::invalid_argument(
                    "security header missing from request",
                ));
            }
            let first = answers.borrow_and_update().clone().map(mk_svids)?;
            let rest = futures::stream::unfold(answers, |mut answers| async move {
                answers.changed().await.ok()?;
                let next = answers.borrow_and_update().clone().map(mk_svids);
                Some((next, answers))
            });
            let all = futures::StreamExt::chain(futures::stream::iter([Ok(first)]), rest);
            Ok(Response::new(Box::pin(all) as Self::ResponseStream))
        })
    }
}

fn mk_svids((spiffe_id, leaf): (String, Leaf)) -> Svids {
    Svids {
        svids: vec![Svid {
            spiffe_id,
            x509_svid: leaf.certificate,
            x509_svid_key: leaf.key,
        }],
    }
}

impl Service<http::Request<tonic::body::Body>> for Api {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default());
            Ok(grpc.server_streaming(api, request).await)
        })
    }
}

//! A SPIRE agent that says what the test wants, over a real unix socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Request, Response, Status};

use crate::pki::{Authority, Leaf};

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct FetchRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FetchResponse {
    #[prost(message, repeated, tag = "1")]
    pub svids: Vec<Svid>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Svid {
    #[prost(string, tag = "1")]
    pub spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub bundle: Vec<u8>,
}

/// What the agent says.
#[derive(Clone)]
pub enum Says {
    NoEntry,
    Unavailable,
    Issues(Vec<Svid>),
}

pub fn mk_svid(authority: &Authority, id: &str, leaf: &Leaf) -> Svid {
    Svid {
        spiffe_id: id.to_owned(),
        x509_svid: leaf.certificate.to_vec(),
        x509_svid_key: leaf.key.clone(),
        bundle: authority.certificate.to_vec(),
    }
}

/// A running agent; gone, socket and all, when dropped.
pub struct Agent {
    pub says: watch::Sender<Says>,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        if std::fs::remove_file(&self.socket).is_err() {
            eprintln!("the socket was gone already");
        }
    }
}

pub fn mk_agent(socket: &Path, says: Says) -> Agent {
    let (says, hears) = watch::channel(says);
    let (stop, stopped) = oneshot::channel::<()>();
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
    tokio::spawn(async move {
        let serving = tonic::transport::Server::builder()
            .add_service(Api(hears))
            .serve_with_incoming(incoming);
        tokio::select! {
            result = serving => result.unwrap(),
            _ = stopped => {}
        }
    });
    Agent {
        says,
        socket: socket.to_owned(),
        stop: Some(stop),
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<FetchResponse, Status>> + Send>>;

#[derive(Clone)]
struct Api(watch::Receiver<Says>);

struct Fetch(watch::Receiver<Says>);

impl tonic::server::ServerStreamingService<FetchRequest> for Fetch {
    type Response = FetchResponse;
    type ResponseStream = Messages;
    type Future = BoxFuture<Response<Messages>, Status>;

    fn call(&mut self, request: Request<FetchRequest>) -> Self::Future {
        let mut says = self.0.clone();
        Box::pin(async move {
            if request.metadata().get("workload.spiffe.io").is_none() {
                return Err(Status::invalid_argument(
                    "security header missing from request",
                ));
            }
            let (messages, stream) = mpsc::channel(4);
            tokio::spawn(async move {
                loop {
                    let message = match says.borrow_and_update().clone() {
                        Says::NoEntry => Err(Status::permission_denied("no identity issued")),
                        Says::Unavailable => {
                            Err(Status::unavailable("workload attestation failed"))
                        }
                        Says::Issues(svids) => Ok(FetchResponse { svids }),
                    };
                    let over = message.is_err();
                    if messages.send(message).await.is_err() || over {
                        return;
                    }
                    tokio::select! {
                        changed = says.changed() => if changed.is_err() { return },
                        () = messages.closed() => return,
                    }
                }
            });
            Ok(Response::new(
                Box::pin(ReceiverStream::new(stream)) as Messages
            ))
        })
    }
}

impl<B> Service<http::Request<B>> for Api
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let says = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != "/SpiffeWorkloadAPI/FetchX509SVID" {
                return Ok(Status::unimplemented("not a method of this agent").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default());
            Ok(grpc.server_streaming(Fetch(says), request).await)
        })
    }
}

impl tonic::server::NamedService for Api {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

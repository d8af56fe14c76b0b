//! A client between which and the API server somebody stands.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lab::apiserver::ApiServer;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// What is done to requests.
#[derive(Debug, Default)]
pub(super) struct Meddler {
    /// Watches never say anything, so only lists and answers are known.
    pub(super) watches_hang: AtomicBool,
    /// So many writes are asked for patience.
    pub(super) busy: AtomicU32,
    /// Answered to writes.
    pub(super) seen: Mutex<Vec<(Instant, String)>>,
}

/// Seconds that are asked for.
pub(super) const PATIENCE: u64 = 2;

pub(super) async fn client(server: &ApiServer, meddler: &Arc<Meddler>) -> Client {
    let file = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options);
    let mut config = config.await.unwrap();
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).unwrap();
    builder.with_layer(&Between(Arc::clone(meddler))).build()
}

type Reply = UnsyncBoxBody<hyper::body::Bytes, BoxError>;

struct Between(Arc<Meddler>);

#[derive(Clone)]
struct Meddled<S>(S, Arc<Meddler>);

impl<S> Layer<S> for Between {
    type Service = Meddled<S>;

    fn layer(&self, inner: S) -> Meddled<S> {
        Meddled(inner, Arc::clone(&self.0))
    }
}

impl<S, B> Service<Request<Body>> for Meddled<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = hyper::body::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Reply>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Reply>, BoxError>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let meddler = &self.1;
        let is_watch = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch="));
        if is_watch && meddler.watches_hang.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        if request.method() != hyper::Method::GET {
            let line = format!("{} {}", request.method(), request.uri().path());
            meddler.seen.lock().unwrap().push((Instant::now(), line));
            let busy = meddler
                .busy
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1));
            if busy.is_ok() {
                let answer = Response::builder()
                    .status(429)
                    .header("retry-after", PATIENCE);
                let text = Full::from("Too many requests, please try again later.\n");
                let answer = answer.body(text.map_err(Into::into).boxed_unsync());
                return Box::pin(std::future::ready(answer.map_err(Into::into)));
            }
        }
        let answer = self.0.call(request);
        Box::pin(async move {
            Ok(answer
                .await?
                .map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }
}

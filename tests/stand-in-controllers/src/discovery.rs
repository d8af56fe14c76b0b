//! `Destination`: who is behind a Service, told as Linkerd's controller tells it; profiles are those of standalone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use autoregistration::mesh;
use autoregistration::metrics::Metrics;
use autoregistration::view::View;
use linkerd2_proxy_api::destination::destination_server::Destination;
use linkerd2_proxy_api::destination::protocol_hint::{H2, Opaque, OpaqueTransport, Protocol};
use linkerd2_proxy_api::destination::tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};
use linkerd2_proxy_api::destination::{
    AddrSet, GetDestination, ProtocolHint, TlsIdentity, Update, WeightedAddr, WeightedAddrSet,
    update,
};
use linkerd2_proxy_api::net::TcpAddress;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::Picture;
use crate::picture::{PROXY_INBOUND_PORT, PROXY_PORT};
use crate::publisher::{Address, Addresses, Key, difference};

const WEIGHT: u32 = 10_000;
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// What Linkerd takes for opaque where nobody says otherwise.
const DEFAULT_OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";
/// Updates that a slow reader may be behind.
const BEHIND: usize = 100;

/// Serves it.
pub(crate) struct Discovery {
    pictures: watch::Receiver<Arc<Picture>>,
    profiles: mesh::Destination,
}

// === impl Discovery ===

impl Discovery {
    pub(crate) fn new(
        pictures: watch::Receiver<Arc<Picture>>,
        views: watch::Receiver<Arc<View>>,
        metrics: Metrics,
    ) -> Self {
        Self {
            pictures,
            profiles: mesh::Destination::new(views, metrics),
        }
    }
}

#[tonic::async_trait]
impl Destination for Discovery {
    type GetStream = ReceiverStream<Result<Update, Status>>;
    type GetProfileStream = <mesh::Destination as Destination>::GetProfileStream;

    async fn get(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let path = request.into_inner().path;
        let (service, port) = parse(&path)
            .ok_or_else(|| Status::invalid_argument(format!("Invalid authority: {path}")))?;
        let port = self
            .pictures
            .borrow()
            .port(&service, port)
            .ok_or_else(|| Status::not_found(format!("{path} is no Service's port")))?;
        let (say, said) = mpsc::channel(BEHIND);
        let labels = HashMap::from([
            ("namespace".to_owned(), service.0.clone()),
            ("service".to_owned(), service.1.clone()),
        ]);
        tokio::spawn(follow(self.pictures.clone(), service, port, labels, say));
        Ok(Response::new(ReceiverStream::new(said)))
    }

    async fn get_profile(
        &self,
        request: Request<GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        self.profiles.get_profile(request).await
    }
}

/// Of `name.namespace.svc.cluster.local:port`.
fn parse(path: &str) -> Option<(Key, u16)> {
    let (host, port) = path.rsplit_once(':')?;
    let host = host
        .trim_end_matches('.')
        .strip_suffix(".svc.cluster.local")?;
    let (name, namespace) = host.split_once('.')?;
    Some(((namespace.to_owned(), name.to_owned()), port.parse().ok()?))
}

/// Tells one stream of all that changes. Of a Service with nobody behind it nothing is said.
async fn follow(
    mut pictures: watch::Receiver<Arc<Picture>>,
    service: Key,
    port: String,
    labels: HashMap<String, String>,
    say: mpsc::Sender<Result<Update, Status>>,
) {
    let mut told = Addresses::new();
    loop {
        let now = pictures.borrow_and_update().behind(&service, &port);
        for update in updates(&told, &now, &port, &labels) {
            if say.send(Ok(update)).await.is_err() {
                return;
            }
        }
        told = now;
        tokio::select! {
            changed = pictures.changed() => if changed.is_err() { return },
            () = say.closed() => return,
        }
    }
}

fn updates(
    told: &Addresses,
    now: &Addresses,
    port: &str,
    labels: &HashMap<String, String>,
) -> Vec<Update> {
    let (new, gone) = difference(told, now);
    let addrs: Vec<_> = new.iter().filter_map(|it| endpoint(it, port)).collect();
    let add = (!addrs.is_empty()).then(|| {
        update::Update::Add(WeightedAddrSet {
            addrs,
            metric_labels: labels.clone(),
        })
    });
    let addrs: Vec<_> = gone.iter().filter_map(|it| address(it, port)).collect();
    let remove = (!addrs.is_empty()).then_some(update::Update::Remove(AddrSet { addrs }));
    let said = add.into_iter().chain(remove);
    said.map(|update| Update {
        update: Some(update),
    })
    .collect()
}

fn address(address: &Address, port: &str) -> Option<TcpAddress> {
    let ip: IpAddr = address.ip.parse().ok()?;
    Some(TcpAddress {
        ip: Some(ip.into()),
        port: (*address.ports.get(port)?).into(),
    })
}

fn endpoint(it: &Address, port: &str) -> Option<WeightedAddr> {
    let (metadata, spec) = (&it.workload.metadata, &it.workload.spec);
    let number = *it.ports.get(port)?;
    let mut metric_labels = HashMap::from([
        (
            "external_workload".to_owned(),
            metadata.name.clone().unwrap_or_default(),
        ),
        ("zone".to_owned(), it.zone.clone().unwrap_or_default()),
        ("zone_locality".to_owned(), "unknown".to_owned()),
    ]);
    if let [owner] = metadata.owner_references.as_deref().unwrap_or_default() {
        metric_labels.insert(owner.kind.to_lowercase(), owner.name.clone());
    }
    let annotations = metadata.annotations.as_ref();
    let opaque = annotations.and_then(|it| it.get(OPAQUE_PORTS));
    let mut opaque = opaque
        .map_or(DEFAULT_OPAQUE_PORTS, String::as_str)
        .split(',');
    let protocol = if opaque.any(|port| port.trim().parse() == Ok(number)) {
        Protocol::Opaque(Opaque {})
    } else {
        Protocol::H2(H2 {})
    };
    let mut ports = spec.ports.iter().flatten();
    let proxy = ports.find(|port| port.name.as_deref() == Some(PROXY_PORT));
    Some(WeightedAddr {
        addr: address(it, port),
        weight: WEIGHT,
        metric_labels,
        tls_identity: Some(TlsIdentity {
            strategy: Some(Strategy::UriLikeIdentity(UriLikeIdentity {
                uri: spec.mesh_tls.identity.clone(),
            })),
            server_name: Some(DnsLikeIdentity {
                name: spec.mesh_tls.server_name.clone(),
            }),
        }),
        protocol_hint: Some(ProtocolHint {
            protocol: Some(protocol),
            opaque_transport: Some(OpaqueTransport {
                inbound_port: proxy.map_or(PROXY_INBOUND_PORT, |port| port.port).into(),
            }),
        }),
        ..WeightedAddr::default()
    })
}

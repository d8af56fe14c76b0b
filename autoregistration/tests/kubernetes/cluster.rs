//! A real API server, and what every test does with it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::runtime::conditions;
use kube::runtime::wait::await_condition;
use kube::{Client, Config, CustomResourceExt as _};
use lab::apiserver::ApiServer;
use std::time::Duration;

pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// One for all tests that run at the same time; it ends with the last of them.
static SHARED: Mutex<Weak<ApiServer>> = Mutex::new(Weak::new());

pub(crate) struct Cluster {
    pub(crate) client: Client,
    _server: Option<Arc<ApiServer>>,
}

impl Cluster {
    /// Shared with other tests, with our definition. Each test uses a namespace of its own.
    pub(crate) async fn shared() -> Self {
        let server = tokio::task::spawn_blocking(|| {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let server = Arc::new(ApiServer::start().unwrap());
                *shared = Arc::downgrade(&server);
                server
            })
        });
        let cluster = Self::of(server.await.unwrap()).await;
        cluster
            .install(&autoregistration::crd::external_group())
            .await;
        cluster
    }

    /// Without any definition, for one test alone.
    pub(crate) async fn alone() -> Self {
        let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
        Self::of(Arc::new(server.await.unwrap())).await
    }

    /// On one that the test starts and ends itself.
    pub(crate) async fn at(server: &ApiServer) -> Self {
        let file = Kubeconfig::read_from(server.kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options);
        Self {
            client: Client::try_from(config.await.unwrap()).unwrap(),
            _server: None,
        }
    }

    async fn of(server: Arc<ApiServer>) -> Self {
        Self {
            _server: Some(Arc::clone(&server)),
            ..Self::at(&server).await
        }
    }

    /// Installs a definition, unless it is there.
    pub(crate) async fn install(&self, definition: &CustomResourceDefinition) {
        let all = Api::<CustomResourceDefinition>::all(self.client.clone());
        match all.create(&PostParams::default(), definition).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            result => drop(result.unwrap()),
        }
        let name = definition.metadata.name.as_deref().unwrap();
        let established = await_condition(all, name, conditions::is_crd_established());
        tokio::time::timeout(DEADLINE, established)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let all = Api::<Namespace>::all(self.client.clone());
        match all.create(&PostParams::default(), &namespace).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            result => drop(result.unwrap()),
        }
    }

    /// Groups as they come, whatever is in them.
    pub(crate) fn groups(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<autoregistration::crd::ExternalGroup>(&());
        Api::namespaced_with(self.client.clone(), namespace, &kind)
    }

    /// Creates a group as `kubectl create` does; the answer is the object, or what a person would read.
    pub(crate) async fn create(
        &self,
        namespace: &str,
        yaml: &str,
    ) -> Result<DynamicObject, String> {
        let mut object: DynamicObject = serde_norway::from_str(yaml).unwrap();
        object.metadata.namespace = Some(namespace.to_owned());
        let request = hyper::Request::post(format!(
            "/apis/workload.buoyant.io/v1alpha1/namespaces/{namespace}/externalgroups?fieldValidation=Strict"
        ));
        let json = serde_json::to_vec(&object).unwrap();
        let request = request.header(hyper::header::CONTENT_TYPE, "application/json");
        match self.client.request(request.body(json).unwrap()).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(other) => panic!("{other}"),
        }
    }
}

pub(crate) fn definition_name() -> &'static str {
    autoregistration::crd::ExternalGroup::crd_name()
}

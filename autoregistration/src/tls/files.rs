//! The three files: read at start, followed afterwards. A bad change is said and leaves the last good state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};

use super::material::{self, Material, Texts};
use crate::settled::{LOOK, Settled};

/// Where the files are and what must be in them.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Trust anchors.
    pub anchors: PathBuf,
    /// Certificate and intermediates.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// DNS identities that the certificate must have.
    pub identities: Vec<String>,
}

/// Follows the files.
#[derive(Debug)]
pub struct Files {
    paths: Paths,
    texts: Settled<Texts>,
    material: watch::Sender<Arc<Material>>,
    anchors: watch::Sender<Arc<str>>,
    complaint: Option<String>,
}

/// The files cannot be read, or not be served from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in them cannot be served.
    #[error(transparent)]
    Material(#[from] material::Error),
}

/// What the files are published as.
pub type Published = (watch::Receiver<Arc<Material>>, watch::Receiver<Arc<str>>);

// === impl Files ===

impl Files {
    /// Reads and checks the files for the first time.
    pub async fn load(paths: Paths) -> Result<(Self, Published), Error> {
        let texts = read(&paths).await?;
        let parsed = Material::parse(&texts, &paths.identities, now())?;
        info!(
            identities = paths.identities.join(","),
            expires = %parsed.expires,
            "certificate loaded"
        );
        let (anchors, anchors_receiver) = watch::channel(Arc::clone(&parsed.anchors_pem));
        let (material, material_receiver) = watch::channel(Arc::new(parsed));
        let files = Self {
            paths,
            texts: Settled::new(texts),
            material,
            anchors,
            complaint: None,
        };
        Ok((files, (material_receiver, anchors_receiver)))
    }

    /// Follows the files for ever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let texts = match read(&self.paths).await {
            Ok(texts) => texts,
            Err(error) => return self.complain(&error),
        };
        let Some(settled) = self.texts.look(texts) else {
            return;
        };
        match Material::parse(settled, &self.paths.identities, now()) {
            Ok(parsed) => {
                self.complaint = None;
                info!(expires = %parsed.expires, "certificate changed");
                let pem = Arc::clone(&parsed.anchors_pem);
                self.material.send_replace(Arc::new(parsed));
                self.anchors.send_if_modified(|current| {
                    let changed = *current != pem;
                    if changed {
                        info!("trust anchors changed");
                        *current = pem;
                    }
                    changed
                });
            }
            Err(error) => self.complain(&Error::from(error)),
        }
    }

    fn complain(&mut self, error: &Error) {
        let complaint = crate::report::chain(error);
        if self.complaint.as_ref() != Some(&complaint) {
            warn!(error = %complaint, "certificate cannot be taken, the last good one is kept");
            self.complaint = Some(complaint);
        }
    }
}

async fn read(paths: &Paths) -> Result<Texts, Error> {
    let read = |path: &PathBuf| {
        let path = path.clone();
        async move {
            tokio::fs::read(&path)
                .await
                .map_err(|source| Error::Read { path, source })
        }
    };
    Ok(Texts {
        anchors: read(&paths.anchors).await?,
        certificate: read(&paths.certificate).await?,
        key: read(&paths.key).await?,
    })
}

/// Since the epoch, for comparing with certificates.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

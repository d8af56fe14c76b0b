//! The three files: read at start, followed afterwards. A bad change is said and leaves the last good state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};

use super::material::{self, Material, Texts};
use super::validity::Stage;
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
    /// What was last said of the certificate's end.
    stage: Stage,
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
            expires = %parsed.validity.until,
            "certificate loaded"
        );
        let (anchors, anchors_receiver) = watch::channel(Arc::clone(&parsed.anchors_pem));
        let (material, material_receiver) = watch::channel(Arc::new(parsed));
        let mut files = Self {
            paths,
            texts: Settled::new(texts),
            material,
            anchors,
            complaint: None,
            stage: Stage::Good,
        };
        files.warn_of_the_end();
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
        self.warn_of_the_end();
        let Some(settled) = self.texts.look(texts) else {
            // The problem may have been that they could not be read, or was taken back.
            if self.texts.is_in_use() {
                self.complaint = None;
            }
            return;
        };
        // What cannot be taken is tried again: it may be a matter of time.
        match Material::parse(settled, &self.paths.identities, now()) {
            Ok(parsed) => {
                self.texts.accept();
                self.complaint = None;
                info!(expires = %parsed.validity.until, "certificate changed");
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

    /// Says once that the served certificate ends soon, and once that it has ended.
    fn warn_of_the_end(&mut self) {
        let validity = self.material.borrow().validity;
        let stage = validity.stage(time::OffsetDateTime::UNIX_EPOCH + now());
        if stage == self.stage {
            return;
        }
        self.stage = stage;
        let expires = validity.until;
        match stage {
            Stage::Good => {}
            Stage::Ending => warn!(
                %expires,
                "certificate has less than a tenth of its life left; write a new one to the files of --tls-cert and --tls-key"
            ),
            Stage::Ended => warn!(
                %expires,
                "certificate has ended, every VM and proxy refuses it; write a new one to the files of --tls-cert and --tls-key"
            ),
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

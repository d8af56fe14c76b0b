//! Publishes the manifests of a directory and follows its changes. A bad change is said and leaves the last good state.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{Ignored, Manifests, Source, files};
use crate::settled::{LOOK, Settled};

/// Follows a directory.
#[derive(Debug)]
pub struct Watch {
    directory: PathBuf,
    sources: Settled<Vec<Source>>,
    /// Whether those texts could be taken.
    parsed: bool,
    ignored: Vec<Ignored>,
    manifests: watch::Sender<Arc<Manifests>>,
    /// What was last said to be wrong, so that it is said once.
    complaint: Option<String>,
}

/// The directory cannot be read, or its manifests cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The files cannot be read.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The files hold something that cannot be taken.
    #[error("the manifests in `{}` cannot be taken:\n{source}", directory.display())]
    Manifests {
        /// Where they are.
        directory: PathBuf,
        /// What is wrong, one problem a line.
        source: super::Error,
    },
}

// === impl Watch ===

impl Watch {
    /// Reads the directory for the first time; here a problem is an error, for there is no good state to keep.
    pub async fn load(
        directory: PathBuf,
    ) -> Result<(Self, watch::Receiver<Arc<Manifests>>), Error> {
        let sources = files::read(&directory).await?;
        let (manifests, ignored) = match super::parse(&sources) {
            Ok(parsed) => parsed,
            Err(source) => return Err(Error::Manifests { directory, source }),
        };
        info!(
            directory = %directory.display(),
            groups = manifests.groups.len(),
            services = manifests.services.len(),
            "manifests loaded"
        );
        let (sender, receiver) = watch::channel(Arc::new(manifests));
        let mut watch = Self {
            directory,
            sources: Settled::new(sources),
            parsed: true,
            ignored: Vec::new(),
            manifests: sender,
            complaint: None,
        };
        watch.note_ignored(ignored);
        Ok((watch, receiver))
    }

    /// Follows the directory for ever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let sources = match files::read(&self.directory).await {
            Ok(sources) => sources,
            Err(error) => {
                self.complain(crate::report::chain(&error));
                return;
            }
        };
        if sources.is_empty() && !self.sources.in_use().is_empty() {
            // A directory that was unmounted looks like this. It would take every VM out of the mesh.
            let directory = self.directory.display();
            self.complain(format!(
                "`{directory}` holds no manifest any more; to serve none, start again"
            ));
            return;
        }
        let Some(settled) = self.sources.look(sources) else {
            // The problem may have been that they could not be read, or was taken back.
            if self.parsed && self.sources.is_in_use() {
                self.complaint = None;
            }
            return;
        };
        let parsed = super::parse(settled);
        // The same texts have the same problems the next time.
        self.sources.accept();
        self.parsed = parsed.is_ok();
        match parsed {
            Ok((manifests, ignored)) => {
                self.complaint = None;
                self.note_ignored(ignored);
                let changed = self.manifests.send_if_modified(|current| {
                    let changed = **current != manifests;
                    if changed {
                        *current = Arc::new(manifests);
                    }
                    changed
                });
                if changed {
                    let manifests = self.manifests.borrow();
                    info!(
                        groups = manifests.groups.len(),
                        services = manifests.services.len(),
                        "manifests changed"
                    );
                }
            }
            // One line for the log.
            Err(error) => self.complain(error.to_string().replace('\n', "; ")),
        }
    }

    fn complain(&mut self, complaint: String) {
        if self.complaint.as_ref() != Some(&complaint) {
            warn!(
                error = %complaint,
                "manifests cannot be taken, the last good state is kept"
            );
            self.complaint = Some(complaint);
        }
    }

    fn note_ignored(&mut self, mut ignored: Vec<Ignored>) {
        ignored.sort();
        for entry in ignored.iter().filter(|entry| !self.ignored.contains(entry)) {
            info!(file = entry.file, object = entry.what, "object ignored");
        }
        self.ignored = ignored;
    }
}

//! The manifest files of a directory: `*.yaml`, `*.yml` and `*.json`, not of directories in it, as `kubectl apply -f`
//! reads them.

use std::path::{Path, PathBuf};

use super::Source;

/// More than a person writes; a wrong path given by mistake is not read into memory.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// The directory or a file in it cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory or a file cannot be opened or read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any manifest.
    #[error("`{}` has {size} bytes, more than the {LARGEST_FILE} that a manifest may have", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How large.
        size: u64,
    },
}

/// Reads the manifest files of `directory`, in the order of their names.
pub async fn read(directory: &Path) -> Result<Vec<Source>, Error> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let mut entries = tokio::fs::read_dir(directory)
        .await
        .map_err(fail(directory))?;
    let mut paths = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(fail(directory))? {
        if is_manifest(&entry.path()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        // Follows links: a mounted ConfigMap is made of them.
        let metadata = match tokio::fs::metadata(&path).await {
            Ok(metadata) => metadata,
            // Removed since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(fail(&path)(source)),
        };
        if !metadata.is_file() {
            continue;
        }
        if metadata.len() > LARGEST_FILE {
            return Err(Error::TooLarge {
                size: metadata.len(),
                path,
            });
        }
        sources.push(Source {
            text: tokio::fs::read_to_string(&path)
                .await
                .map_err(fail(&path))?,
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        });
    }
    Ok(sources)
}

/// Hidden files are those of editors.
fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

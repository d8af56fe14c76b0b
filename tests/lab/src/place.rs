//! Where things are on this machine.

use std::path::PathBuf;

/// The root of the source tree.
pub fn source() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(PathBuf::from).unwrap_or(here)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| source().join("target"), |dir| source().join(dir))
}

/// What the lab builds once and uses again: SPIRE, the root of the VMs. Without symbolic links, as mounts are listed.
pub fn cache() -> PathBuf {
    let cache = target().join("lab");
    cache.canonicalize().unwrap_or(cache)
}

/// One directory for each lab that is up.
pub fn runs() -> PathBuf {
    cache().join("run")
}

//! Takes every rule of ours off the host, with no memory and no configuration: after a crash, at a stop, at a purge.

use std::fmt;
use std::path::Path;

use linkerd_harness_core::redirect::Family;
use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::nftables::TABLE;

use super::error::{Error, Trouble};
use super::legacy;
use super::nft::Nft;
use super::tools::Tools;

/// Where rules were found and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// In which backend.
    pub backend: Backend,
    /// Of which family; `None` where one table serves both.
    pub family: Option<Family>,
}

/// Everything that could not be removed; the rest was. Never empty.
#[derive(Debug)]
pub struct CleanupErrors(Vec<Error>);

/// Removes every rule of ours from all backends and both families, and says where there were any. Loads no module of the
/// legacy backend: of a table that does not exist nothing can be ours.
pub async fn cleanup(run_dir: &Path) -> Result<Vec<Removed>, CleanupErrors> {
    let mut removed = Vec::new();
    let mut errors = Vec::new();
    for backend in Backend::ALL {
        for &family in families(backend) {
            match take_out(Extent::All, (backend, family), run_dir).await {
                Ok(true) => removed.push(Removed { backend, family }),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() {
        Ok(removed)
    } else {
        Err(CleanupErrors(errors))
    }
}

/// The families that a backend has rules of their own for.
pub(super) fn families(backend: Backend) -> &'static [Option<Family>] {
    match backend {
        Backend::Nft | Backend::Legacy => &[Some(Family::V4), Some(Family::V6)],
        Backend::Nftables => &[None],
    }
}

/// How much of ours is taken out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extent {
    /// What redirects: connections that were redirected before go on.
    Jumps,
    /// Everything.
    All,
}

/// Takes out what is ours of one backend and family. `false` when there was nothing.
pub(super) async fn take_out(
    extent: Extent,
    (backend, family): (Backend, Option<Family>),
    run_dir: &Path,
) -> Result<bool, Error> {
    let taken = match family {
        Some(family) => match (tools(backend, family, run_dir).await, extent) {
            (Some(tools), Extent::Jumps) => tools.withdraw().await,
            (Some(tools), Extent::All) => tools.remove().await,
            (None, _) => Ok(false),
        },
        None => match (Nft::find(), extent) {
            (Some(nft), Extent::Jumps) => nft.withdraw().await,
            (Some(nft), Extent::All) => nft.remove().await,
            (None, _) => Ok(false),
        },
    };
    nothing_where_nothing_can_be(taken)
}

/// Of two parts: the first error, or whether anything was there.
pub(super) fn either(one: Result<bool, Error>, other: Result<bool, Error>) -> Result<bool, Error> {
    Ok(one? | other?)
}

/// The programs, where anything of ours can be: in a legacy table that exists. Without programs we never made rules.
async fn tools(backend: Backend, family: Family, run_dir: &Path) -> Option<Tools> {
    let exists = backend == Backend::Nft
        || legacy::tables(family, run_dir)
            .iter()
            .any(|table| table == "nat");
    if exists {
        Tools::find(backend, family).await
    } else {
        None
    }
}

/// Nor can anything of ours be in a kernel without the backend.
fn nothing_where_nothing_can_be(result: Result<bool, Error>) -> Result<bool, Error> {
    match result {
        Err(Error::Command {
            doing: "read",
            source,
            ..
        }) if Trouble::of(&source) == Some(Trouble::Kernel) => Ok(false),
        result => result,
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Some(family) => write!(f, "{family} rules of iptables-{}", self.backend),
            None => write!(f, "table {TABLE} of {}", self.backend),
        }
    }
}

impl CleanupErrors {
    /// The errors.
    pub fn errors(&self) -> &[Error] {
        &self.0
    }
}

impl fmt::Display for CleanupErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(Error::in_full).collect();
        f.write_str(&all.join("\n"))
    }
}

impl std::error::Error for CleanupErrors {}

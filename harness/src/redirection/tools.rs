//! The programs of one backend and family, and what is asked of them.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use linkerd_harness_core::redirect::Family;
use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::iptables;

use super::error::Error;
use super::exec::{self, CommandError};
use super::nft::Nft;

mod unreadable;

/// How often a change is tried anew when another program changed the table meanwhile.
const RACES: usize = 5;

/// What `iptables-nft-save` prints instead of a table that has a rule of another form.
const UNREADABLE: &str = "# Table `nat' is incompatible";

/// `iptables-…-save` and `iptables-…-restore`.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) backend: Backend,
    pub(super) family: Family,
    save: PathBuf,
    restore: PathBuf,
}

impl Tools {
    /// Finds them by their full names, else by their plain names where those are of this backend.
    pub(super) async fn find(backend: Backend, family: Family) -> Option<Self> {
        if backend == Backend::Nftables {
            // Its program is no iptables.
            return None;
        }
        let plain = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let pair = |name: &str| {
            Some((
                exec::find(&format!("{name}-save"))?,
                exec::find(&format!("{name}-restore"))?,
            ))
        };
        let (save, restore) = if let Some(pair) = pair(&format!("{plain}-{backend}")) {
            pair
        } else {
            let (save, restore) = pair(plain)?;
            (backend_of(&restore).await? == backend).then_some((save, restore))?
        };
        Some(Self {
            backend,
            family,
            save,
            restore,
        })
    }

    /// All tables. Not for the legacy backend, whose program reads the kernel's list of them, which is root's.
    pub(super) async fn dump_all(&self) -> Result<String, Error> {
        self.save(&[]).await
    }

    /// These tables. The legacy backend makes those that do not exist.
    pub(super) async fn dump_tables(&self, tables: &[String]) -> Result<String, Error> {
        let mut dumps = String::new();
        for table in tables {
            dumps.push_str(&self.save(&["-t", table]).await?);
        }
        Ok(dumps)
    }

    /// Table `nat`, with counters. For the legacy backend this makes the table where it does not exist.
    pub(super) async fn dump(&self) -> Result<String, Error> {
        self.save(&["-c", "-t", "nat"]).await
    }

    async fn save(&self, args: &[&str]) -> Result<String, Error> {
        let error = |source| self.error("read", source);
        let dump = exec::run(&self.save, args, "").await.map_err(error)?;
        // It says so where the rules should be, and calls that a success. Taken for a table without rules, it would be
        // repaired for ever, a jump more each time.
        if let Some(line) = dump.lines().find(|line| line.starts_with(UNREADABLE)) {
            return Err(error(CommandError::Failed {
                command: format!("{} {}", self.save.display(), args.join(" ")),
                status: ExitStatus::default(),
                stderr: line.to_owned(),
            }));
        }
        Ok(dump)
    }

    /// Decides on a change from the table as it is, and makes it. `false` when there was nothing to change.
    pub(super) async fn change(
        &self,
        doing: &'static str,
        decide: impl Fn(&str) -> Option<String> + Send,
    ) -> Result<bool, Error> {
        let mut dump = self.dump().await?;
        for _ in 0..RACES {
            let Some(text) = decide(&dump) else {
                return Ok(false);
            };
            let Err(failure) = self.commit(&text).await else {
                return Ok(true);
            };
            // Refused because another program was faster? Then the table is another one by now.
            let now = self.dump().await?;
            if without_notes(&now) == without_notes(&dump) {
                return Err(self.error(doing, failure));
            }
            dump = now;
        }
        let text = decide(&dump);
        let Some(text) = text else { return Ok(false) };
        self.commit(&text)
            .await
            .map_err(|failure| self.error(doing, failure))?;
        Ok(true)
    }

    /// Redirects nothing any more.
    pub(super) async fn withdraw(&self) -> Result<bool, Error> {
        match self.change("withdraw", iptables::withdrawal).await {
            Err(error) if error.is_incompatible() => {
                self.by_nft("withdraw", unreadable::withdrawal).await
            }
            result => result,
        }
    }

    /// Takes everything of ours out of table `nat`. `false` when there was nothing.
    pub(super) async fn remove(&self) -> Result<bool, Error> {
        match self.change("remove", iptables::removal).await {
            Err(error) if error.is_incompatible() => {
                self.by_nft("remove", unreadable::removal).await
            }
            result => result,
        }
    }

    /// Does it to a table that iptables cannot read.
    async fn by_nft(
        &self,
        doing: &'static str,
        decide: fn(&str, &str) -> Option<String>,
    ) -> Result<bool, Error> {
        let nft = Nft::find().ok_or(Error::Unreadable {
            doing,
            family: self.family,
        })?;
        let table = unreadable::table(self.family);
        let changed = nft.change_other(table, |listing| decide(table, listing));
        changed.await.map_err(|source| self.error(doing, source))
    }

    async fn commit(&self, text: &str) -> Result<(), CommandError> {
        let args: &[&str] = match self.backend {
            Backend::Nft | Backend::Nftables => &["--noflush"],
            // All writers of legacy tables share one lock. The wait is shorter than the time a program is given.
            Backend::Legacy => &["--noflush", "--wait=5"],
        };
        exec::run(&self.restore, args, text).await.map(drop)
    }

    fn error(&self, doing: &'static str, source: CommandError) -> Error {
        Error::Command {
            doing,
            family: self.family,
            backend: self.backend,
            source,
        }
    }
}

/// `iptables-restore v1.8.9 (nf_tables)`; versions before 1.8 name no backend, for there was only one.
async fn backend_of(restore: &Path) -> Option<Backend> {
    let version = exec::run(restore, &["--version"], "").await.ok()?;
    Some(if version.contains("nf_tables") {
        Backend::Nft
    } else {
        Backend::Legacy
    })
}

/// A dump without its dates and counters.
fn without_notes(dump: &str) -> String {
    let lines = dump.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let cut = match line.as_bytes().first() {
                Some(b':') => line.split_once(" [").map(|(chain, _)| chain),
                Some(b'[') => line.split_once("] ").map(|(_, rule)| rule),
                _ => None,
            };
            cut.unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n")
}

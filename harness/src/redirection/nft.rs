//! The program `nft`, and what is asked of it.

use std::path::PathBuf;

use linkerd_harness_core::redirect::nftables::{self, TABLE};

use super::error::{Error, Trouble};
use super::exec::{self, CommandError};

/// How often a change is tried anew when another program changed our table meanwhile.
const RACES: usize = 5;

#[derive(Clone, Debug)]
pub(super) struct Nft(PathBuf);

impl Nft {
    pub(super) fn find() -> Option<Self> {
        exec::find("nft").map(Self)
    }

    /// Whether it works here; asks for the names of all tables.
    pub(super) async fn works(&self) -> Result<(), Error> {
        let listed = exec::run(&self.0, &["list", "tables"], "").await;
        listed.map(drop).map_err(|source| error("read", source))
    }

    /// Our table with its counters; `None` where there is none.
    pub(super) async fn list(&self) -> Result<Option<String>, Error> {
        let words: Vec<&str> = ["list", "table"]
            .into_iter()
            .chain(TABLE.split(' '))
            .collect();
        match exec::run(&self.0, &words, "").await {
            Ok(listing) => Ok(Some(listing)),
            Err(source) if is_absence(&source) => Ok(None),
            Err(source) => Err(error("read", source)),
        }
    }

    /// Decides on transactions from the table as it is, and makes them. `false` when there was nothing to change.
    pub(super) async fn change(
        &self,
        doing: &'static str,
        decide: impl Fn(Option<&str>) -> Vec<String> + Send,
    ) -> Result<bool, Error> {
        let mut listing = self.list().await?;
        let mut races = 0;
        loop {
            let transactions = decide(listing.as_deref());
            let Err(failure) = self.commit(&transactions).await else {
                return Ok(!transactions.is_empty());
            };
            // Refused because another program was faster? Then the table is another one by now.
            let now = self.list().await?;
            races += 1;
            if races > RACES || bare(now.as_deref()) == bare(listing.as_deref()) {
                return Err(error(doing, failure));
            }
            listing = now;
        }
    }

    /// Redirects nothing any more.
    pub(super) async fn withdraw(&self) -> Result<bool, Error> {
        let text = |listing: Option<&str>| listing.and_then(nftables::withdrawal);
        self.change("withdraw", |listing| text(listing).into_iter().collect())
            .await
    }

    /// Deletes our table. `false` when there was none.
    pub(super) async fn remove(&self) -> Result<bool, Error> {
        let text = |listing: Option<&str>| listing.map(|_| nftables::removal());
        self.change("remove", |listing| text(listing).into_iter().collect())
            .await
    }

    /// Decides on a change of a table that is not ours, from its rules with their handles, and makes it. `false` when there
    /// was nothing to change.
    pub(super) async fn change_other(
        &self,
        table: &str,
        decide: impl Fn(&str) -> Option<String> + Send,
    ) -> Result<bool, CommandError> {
        let words: Vec<&str> = ["-a", "list", "table"]
            .into_iter()
            .chain(table.split(' '))
            .collect();
        let mut races = 0;
        loop {
            let listing = match exec::run(&self.0, &words, "").await {
                Err(error) if is_absence(&error) => return Ok(false),
                listing => listing?,
            };
            let Some(text) = decide(&listing) else {
                return Ok(false);
            };
            match self.commit(&[text]).await {
                // Another program may have been faster; handles are of one moment.
                Err(_) if races < RACES => races += 1,
                result => return result.map(|()| true),
            }
        }
    }

    async fn commit(&self, transactions: &[String]) -> Result<(), CommandError> {
        for text in transactions {
            exec::run(&self.0, &["-f", "-"], text).await?;
        }
        Ok(())
    }
}

/// Whether it is nft itself that says that there is no such table, or no support for any.
fn is_absence(error: &CommandError) -> bool {
    let by_nft = |stderr: &str| {
        stderr.contains("Error: ") || stderr.contains("Unable to initialize Netlink socket")
    };
    Trouble::of(error) == Some(Trouble::Kernel)
        && matches!(error, CommandError::Failed { stderr, .. } if by_nft(stderr))
}

fn error(doing: &'static str, source: CommandError) -> Error {
    Error::Table { doing, source }
}

fn bare(listing: Option<&str>) -> Option<String> {
    listing.map(nftables::bare)
}

//! The driver for a table of our own, by `nft`.

use linkerd_harness_core::redirect::backend::{Backend, NoBackend};
use linkerd_harness_core::redirect::{Look, Plan, State, nftables};

use super::Firewall;
use super::dialect::Dialect;
use super::error::Error;
use super::nft::Nft;

/// Rules in a table of our own.
#[derive(Debug)]
pub(super) struct Nftables {
    nft: Nft,
    dialect: Dialect,
}

impl Nftables {
    pub(super) fn find() -> Result<Self, Error> {
        let nft = Nft::find().ok_or(Error::NoBackend {
            none: NoBackend::ChosenNoProgram(Backend::Nftables),
            why: None,
        })?;
        Ok(Self {
            nft,
            dialect: Dialect::default(),
        })
    }

    /// See [`nftables::groundwork`].
    pub(super) async fn prepare_connections(&self, plan: &Plan) -> Result<(), Error> {
        let texts = |listing: Option<&str>| nftables::groundwork(plan, listing);
        self.nft.change("prepare", texts).await.map(drop)
    }

    async fn write(&self, plan: &Plan) -> Result<(), Error> {
        let texts = |listing: Option<&str>| nftables::apply(plan, listing);
        self.nft.change("apply", texts).await.map(drop)
    }

    /// See [`Dialect`]. Takes what a look at rules that were just applied has shown, and gives what is there now.
    async fn learn(&self, plan: &Plan, listing: Option<String>) -> Result<Option<String>, Error> {
        let print = |listing: Option<&str>| listing.and_then(|text| nftables::print(plan, text));
        if nftables::state(plan, listing.as_deref()) == State::Applied {
            self.dialect.learn(None, plan, None);
            return Ok(listing);
        }
        let Some(first) = print(listing.as_deref()) else {
            return Ok(listing);
        };
        self.write(plan).await?;
        let listing = self.nft.list().await?;
        if print(listing.as_deref()).as_ref() == Some(&first) {
            self.dialect.learn(None, plan, Some(first));
        }
        Ok(listing)
    }
}

impl Firewall for Nftables {
    async fn apply(&self, plan: &Plan) -> Result<(), Error> {
        self.write(plan).await?;
        self.dialect.applied(None, plan);
        Ok(())
    }

    async fn withdraw(&self) -> Result<bool, Error> {
        self.nft.withdraw().await
    }

    async fn look(&self, plan: &Plan) -> Result<Look, Error> {
        let mut listing = self.nft.list().await?;
        if self.dialect.is_unseen(None, plan) {
            listing = self.learn(plan, listing).await?;
        }
        let text = listing.as_deref();
        let state = nftables::state(plan, text);
        let print = || text.and_then(|text| nftables::print(plan, text));
        let state = self.dialect.judge(None, plan, state, print);
        Ok(Look {
            text: match state {
                State::Applied => nftables::show(plan),
                _ => text.map(nftables::bare).unwrap_or_default(),
            },
            state,
            rules: text.map(nftables::live).unwrap_or_default(),
        })
    }
}

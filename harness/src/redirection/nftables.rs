//! The driver for a table of our own, by `nft`.

use linkerd_harness_core::redirect::backend::{Backend, NoBackend};
use linkerd_harness_core::redirect::{Look, Plan, State, nftables};

use tracing::debug;

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

    /// See [`Dialect`].
    async fn learn(&self, plan: &Plan) -> Result<(), Error> {
        let print = |listing: Option<&str>| listing.and_then(|text| nftables::print(plan, text));
        let listing = self.nft.list().await?;
        if nftables::state(plan, listing.as_deref()) == State::Applied {
            self.dialect.learn(None, plan, None);
        } else if let Some(first) = print(listing.as_deref()) {
            self.write(plan).await?;
            if print(self.nft.list().await?.as_deref()).as_ref() == Some(&first) {
                self.dialect.learn(None, plan, Some(first));
            }
        }
        Ok(())
    }
}

impl Firewall for Nftables {
    async fn apply(&self, plan: &Plan) -> Result<(), Error> {
        self.write(plan).await?;
        // The rules are in place, whatever comes of this.
        if !self.dialect.knows(None, plan)
            && let Err(error) = self.learn(plan).await
        {
            debug!(error = %error.in_full(), "cannot look at the rules that were just applied");
        }
        Ok(())
    }

    async fn withdraw(&self) -> Result<bool, Error> {
        self.nft.withdraw().await
    }

    async fn look(&self, plan: &Plan) -> Result<Look, Error> {
        let listing = self.nft.list().await?;
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

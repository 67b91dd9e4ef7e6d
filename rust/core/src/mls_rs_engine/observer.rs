//! One epoch seen from outside, on mls-rs: who is in it and what its tree is. Holds no secret.
//!
//! An observer cannot check confirmation or membership tags (facts.md §9): what it follows is well formed and signed by a
//! member, and may still be a commit that no member can open.

use std::fmt;
use std::sync::Arc;

use mls_rs::external_client::{ExternalGroup, ExternalReceivedMessage};
use mls_rs::group::{CommitEffect, ExportedTree};
use mls_rs::WireFormat;

use super::blame::Doing;
use super::config::{observer_client, ObserverConfig};
use super::roster::{context, members};
use crate::encoding::{decode, message};
use crate::engine::{GroupContext, Member};
use crate::{Error, Result, Successor};

/// One epoch seen from outside. Cloning shares it.
#[derive(Clone)]
pub struct Observer(Arc<View>);

struct View {
    engine: ExternalGroup<ObserverConfig>,
    context: GroupContext,
}

impl Observer {
    pub(super) fn observe(
        group_info: &[u8],
        tree: Option<&[u8]>,
        successor: Successor,
    ) -> Result<Self> {
        let message = message(group_info, "group_info", &[WireFormat::GroupInfo])?;
        let tree = tree
            .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
            .transpose()?;
        let engine = observer_client(successor)
            .observe_group(message, tree, None)
            .map_err(|error| Doing::Reading("group_info").failed(error))?;
        Self::of(engine)
    }

    pub(super) fn follow(&self, bytes: &[u8]) -> Result<Self> {
        let message = message(bytes, "commit", &[WireFormat::PublicMessage])?;
        let mut engine = self.0.engine.clone();
        match engine.process_incoming_message(message) {
            Ok(ExternalReceivedMessage::Commit(done))
                if matches!(done.effect, CommitEffect::ReInit(_)) =>
            {
                Err(Error::remote("unsupported_proposal", "ReInit").at("commit"))
            }
            Ok(ExternalReceivedMessage::Commit(_) | ExternalReceivedMessage::Proposal(_)) => {
                Self::of(engine)
            }
            Ok(_) => Err(
                Error::remote("wrong_message_type", "a commit or proposal was expected")
                    .at("commit"),
            ),
            Err(error) => Err(Doing::Reading("commit").failed(error)),
        }
    }

    pub(super) fn context(&self) -> &GroupContext {
        &self.0.context
    }

    pub(super) fn roster(&self) -> Vec<Member> {
        members(&self.0.engine.roster())
    }

    pub(super) fn tree(&self) -> Result<Vec<u8>> {
        self.0
            .engine
            .export_tree()
            .map_err(|error| Doing::Alone("tree").failed(error))
    }

    fn of(engine: ExternalGroup<ObserverConfig>) -> Result<Self> {
        let context = context(engine.group_context())?;
        Ok(Self(Arc::new(View { engine, context })))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Observer(epoch={})", self.0.context.epoch)
    }
}

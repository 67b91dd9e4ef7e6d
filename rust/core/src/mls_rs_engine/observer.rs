//! One epoch seen from outside, on mls-rs: who is in it and what its tree is. Holds no secret.
//!
//! An observer cannot check confirmation or membership tags: what it follows is well formed and signed by a
//! member, and may still be a commit that no member can open.

use std::fmt;
use std::sync::Arc;

use mls_rs::external_client::{ExternalGroup, ExternalReceivedMessage};
use mls_rs::group::{CommitEffect, ExportedTree};
use mls_rs::WireFormat;
use mls_rs_core::psk::ExternalPskId;

use super::asked;
use super::blame::{Doing, ENDED};
use super::config::{observer_client, ObserverConfig};
use super::extensions::list;
use super::roster::{context, members};
use crate::encoding::{decode, message};
use crate::engine::{GroupContext, Member};
use crate::key_package::received;
use crate::proposal::Proposal;
use crate::{Client, Error, IdentityRules, Result};

/// One epoch seen from outside. Cloning shares it.
#[derive(Clone)]
pub struct Observer(Arc<View>);

struct View {
    engine: ExternalGroup<ObserverConfig>,
    context: GroupContext,
    /// The commit that led here ended the group.
    ended: bool,
}

impl Observer {
    pub(super) fn observe(
        group_info: &[u8],
        tree: Option<&[u8]>,
        rules: &IdentityRules,
        sender: Option<&Client>,
    ) -> Result<Self> {
        rules.check_roots()?;
        let message = message(group_info, "group_info", &[WireFormat::GroupInfo])?;
        let tree = tree
            .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
            .transpose()?;
        let engine = observer_client(rules, message.cipher_suite(), sender)
            .observe_group(message, tree, None)
            .map_err(|error| Doing::Reading("group_info").failed(error))?;
        Self::of(engine, false)
    }

    pub(super) fn follow(&self, bytes: &[u8]) -> Result<Self> {
        let message = message(bytes, "commit", &[WireFormat::PublicMessage])?;
        let mut engine = self.0.engine.clone();
        match engine.process_incoming_message(message) {
            Ok(ExternalReceivedMessage::Commit(done)) => {
                let ended = matches!(done.effect, CommitEffect::ReInit(_));
                Self::of(engine, ended)
            }
            Ok(ExternalReceivedMessage::Proposal(_)) if self.0.ended => Err(Error::remote(
                "group_ended",
                "its sender knows that this group has ended",
            )
            .at("proposal")
            .section(ENDED)),
            Ok(ExternalReceivedMessage::Proposal(_)) => Self::of(engine, false),
            Ok(_) => Err(
                Error::remote("wrong_message_type", "a commit or proposal was expected")
                    .at("commit")
                    .section("RFC 9420 section 6"),
            ),
            Err(error) => Err(Doing::Reading("commit").failed(error)),
        }
    }

    /// Made on a clone: the engine would remember its own proposal, and whoever sends it follows it like others.
    pub(super) fn propose(
        &self,
        proposal: &Proposal,
        authenticated_data: &[u8],
    ) -> Result<Vec<u8>> {
        if self.0.ended {
            return Err(Error::local("group_ended", "this group has ended").section(ENDED));
        }
        let mut engine = self.0.engine.clone();
        let data = authenticated_data.to_vec();
        let allowed = asked::allowed(proposal, &engine.roster(), &self.0.context)?;
        let made = match &*allowed {
            Proposal::Add(key_package) => engine.propose_add(received(key_package)?, data),
            Proposal::Remove(leaf) => engine.propose_remove(*leaf, data),
            Proposal::ExternalPsk(id) => {
                engine.propose_external_psk(ExternalPskId::new(id.clone()), data)
            }
            Proposal::ResumptionPsk(psk) => engine.propose_resumption_psk(psk.epoch, data),
            Proposal::ReInit(next) => engine.propose_reinit(
                Some(next.group_id.clone()),
                next.version.into(),
                next.suite.into(),
                list(&next.extensions),
                data,
            ),
            Proposal::ContextExtensions(extensions) => {
                engine.propose_group_context_extensions(list(extensions), data)
            }
            Proposal::Custom { number, data: body } => {
                engine.propose_custom(asked::custom(*number, body), data)
            }
            Proposal::Update | Proposal::ExternalInit | Proposal::ReInitInSuite { .. } => {
                return Err(asked::cannot_be_proposed(proposal))
            }
        };
        made.and_then(|message| message.to_bytes())
            .map_err(|error| Doing::Making("proposal").failed(error))
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

    fn of(engine: ExternalGroup<ObserverConfig>, ended: bool) -> Result<Self> {
        let context = context(engine.group_context())?;
        Ok(Self(Arc::new(View {
            engine,
            context,
            ended,
        })))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Observer(epoch={})", self.0.context.epoch)
    }
}

//! Commits: somebody else's, looked at before they are applied, and our own.

use std::fmt;

use mls_rs::group::{CommitBuilder, CommitEffect, ReceivedMessage};
use mls_rs::MlsMessage;
use mls_rs_core::psk::ExternalPskId;
use mls_rs_core::time::MlsTime;

use super::asked;
use super::blame::Doing;
use super::config::{signing_identity, Config};
use super::extensions::list;
use super::group::{Group, Terms};
use super::keys;
use super::proposals::{self, OF_A_GROUP};
use super::roster::{all, changes};
use crate::encoding::message;
use crate::engine::{Changes, CommitRequest, Committed, PreSharedKeys};
use crate::key_package::received;
use crate::proposal::Proposal;
use crate::{Error, Result};

/// A commit looked at. It can be dropped, or applied.
pub struct Staged {
    pub(super) changes: Changes,
    child: Option<Group>,
}

impl Staged {
    pub(super) fn apply(&self) -> Result<Group> {
        self.child.clone().ok_or_else(|| {
            Error::local(
                "removed",
                "this commit removes us: there is no epoch to go to",
            )
        })
    }
}

impl Group {
    pub(super) fn stage(
        &self,
        bytes: &[u8],
        psks: &PreSharedKeys,
        now: Option<u64>,
    ) -> Result<Staged> {
        let message = message(bytes, "commit", &OF_A_GROUP)?;
        let call = self.begin(psks);
        let mut engine = self.0.engine.clone();
        let processed = match now {
            Some(now) => engine.process_incoming_message_with_time(message, MlsTime::from(now)),
            None => engine.process_incoming_message(message),
        };
        let done = match processed {
            Ok(ReceivedMessage::Commit(done)) => done,
            Ok(_) => {
                return Err(Error::remote("wrong_message_type", "a commit was expected")
                    .at("commit")
                    .section("RFC 9420 section 6"))
            }
            Err(error) => return Err(Doing::Reading("commit").failed(error)),
        };
        let after = engine.export_tree();
        let before = self.0.engine.export_tree();
        let changes = changes(&done, &before, &after)?;
        keys::of_commit(self.suite(), done.committer, &changes, &before, &after)?;
        let child = if changes.removes_us {
            None
        } else {
            Some(self.next(engine, &call, changes.reinit.clone(), self.0.terms)?)
        };
        Ok(Staged { changes, child })
    }

    pub(super) fn commit(&self, request: &CommitRequest<'_>) -> Result<Committed<Self>> {
        self.may_send()?;
        // What the group knew and is not valid is left out. So what fails comes from a key package, or else from the caller.
        let added: Vec<&[u8]> = request
            .proposals
            .iter()
            .filter_map(|one| match one {
                Proposal::Add(key_package) => Some(key_package.as_slice()),
                _ => None,
            })
            .collect();
        let own = match request.client {
            Some(client) => client.signing_key.public(),
            None => self.own_key()?,
        };
        let doing = if added.is_empty() {
            Doing::Alone("commit")
        } else {
            Doing::Making("commit")
        };
        let making = |error| doing.failed_adding(error, &added, own);
        let mut time = request.now.unwrap_or(u64::MAX);
        let mut engine = self.engine_of(request.client)?;
        let terms = request.client.map_or(self.0.terms, Terms::of);
        let call = self.begin(request.psks);
        call.require_path(request.path || request.client.is_some());
        call.encrypt(
            request.private.is_some(),
            request.private.unwrap_or_default(),
        );
        let mut builder = engine.commit_builder();
        if let Some(client) = request.client {
            builder = builder
                .set_new_signing_identity(
                    client.signing_key.secret().clone(),
                    signing_identity(client),
                )
                .set_leaf_node_extensions(list(&client.leaf_extensions));
        }
        for proposal in request.proposals {
            if let (Proposal::Add(key_package), None) = (proposal, request.now) {
                time = time.min(expiry(&received(key_package)?)?);
            }
            builder = self.with(builder, proposal)?;
        }
        if request.now.is_none() {
            for cached in self.0.engine.get_cached_proposals() {
                if let mls_rs::group::proposal::Proposal::Add(add) = cached.proposal() {
                    time = time.min(last_moment(add.key_package())?);
                }
            }
        }
        // The engine reads the clock unless a time is given. Without `now` no lifetime shall be checked, so the time given
        // is the last moment at which everyone added is still good.
        let (output, secrets) = builder
            .authenticated_data(request.authenticated_data.to_vec())
            .commit_time(MlsTime::from(time))
            .build_detached()
            .map_err(making)?;
        let parent = if request.private.is_some() {
            let mut kept = self.0.kept.clone();
            kept.sent = self.0.shared.spent.take_handshake(kept.sent)?;
            self.step(engine.clone(), kept)
        } else {
            self.clone()
        };
        let done = engine.apply_detached_commit(secrets).map_err(making)?;
        let reinit = match done.effect {
            CommitEffect::ReInit(info) => Some(proposals::reinit(&info.proposal)),
            _ => None,
        };
        let message = output.commit_message.to_bytes().map_err(making)?;
        let welcome = output
            .welcome_messages
            .first()
            .map(MlsMessage::to_bytes)
            .transpose()
            .map_err(making)?;
        Ok(Committed {
            message,
            welcome,
            group: self.next(engine, &call, reinit, terms)?,
            parent: Some(parent),
            left_out: all(&output.unused_proposals)?,
        })
    }

    fn with<'a>(
        &self,
        builder: CommitBuilder<'a, Config>,
        proposal: &Proposal,
    ) -> Result<CommitBuilder<'a, Config>> {
        let allowed = asked::allowed(proposal, &self.0.engine.roster(), self.context())?;
        let added = match &*allowed {
            Proposal::Add(key_package) => builder.add_member(self.key_package(key_package)?),
            Proposal::Remove(leaf) => builder.remove_member(*leaf),
            Proposal::ExternalPsk(id) => builder.add_external_psk(ExternalPskId::new(id.clone())),
            Proposal::ResumptionPsk(psk) => builder.add_resumption_psk(psk.epoch),
            Proposal::ReInit(next) => builder.reinit(
                Some(next.group_id.clone()),
                next.version.into(),
                next.suite.into(),
                list(&next.extensions),
            ),
            Proposal::ContextExtensions(extensions) => {
                builder.set_group_context_ext(list(extensions))
            }
            Proposal::Custom { number, data } => {
                Ok(builder.custom_proposal(asked::custom(*number, data)))
            }
            // A committer updates itself by the path (RFC 9420 section 12.2).
            Proposal::Update | Proposal::ExternalInit | Proposal::ReInitInSuite { .. } => {
                return Err(asked::cannot_be_proposed(proposal))
            }
        };
        added.map_err(|error| Doing::Making("commit").failed(error))
    }
}

fn expiry(message: &MlsMessage) -> Result<u64> {
    message.as_key_package().map_or(Ok(u64::MAX), last_moment)
}

fn last_moment(key_package: &mls_rs::KeyPackage) -> Result<u64> {
    key_package
        .expiration()
        .map(|time| time.seconds_since_epoch())
        .map_err(|error| Doing::Reading("key_package").failed(error))
}

impl fmt::Debug for Staged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Staged")
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

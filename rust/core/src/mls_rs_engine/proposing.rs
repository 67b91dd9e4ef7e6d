//! Proposals that a later commit names by reference: somebody else's, and our own.

use mls_rs::group::ReceivedMessage;
use mls_rs::MlsMessage;
use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::psk::ExternalPskId;

use super::asked;
use super::blame::Doing;
use super::config::signing_identity;
use super::extensions::list;
use super::group::Group;
use super::keys;
use super::proposals::{self, OF_A_GROUP};
use crate::encoding::message;
use crate::key_package::received;
use crate::message::{Outgoing, Padding};
use crate::proposal::{Proposal, Proposed};
use crate::{Client, Error, Result};

impl Group {
    pub(super) fn with_proposal(&self, bytes: &[u8]) -> Result<Self> {
        let message = message(bytes, "proposal", &OF_A_GROUP)?;
        let _call = self.begin(&[]);
        let mut engine = self.0.engine.clone();
        match engine.process_incoming_message(message) {
            Ok(ReceivedMessage::Proposal(done)) => {
                self.goes_on("proposal")?;
                proposals::may_be_sent(&done)?;
                keys::of_proposal(self.suite(), &done.proposal)?;
                Ok(self.step(engine, self.0.kept.clone()))
            }
            Ok(_) => Err(
                Error::remote("wrong_message_type", "a proposal was expected")
                    .at("proposal")
                    .section("RFC 9420 section 6"),
            ),
            Err(error) => Err(Doing::Reading("proposal").failed(error)),
        }
    }

    pub(super) fn propose(
        &self,
        proposal: &Proposal,
        authenticated_data: &[u8],
        private: Option<Padding>,
        client: Option<&Client>,
    ) -> Result<Outgoing<Self>> {
        self.may_send()?;
        if client.is_some() && *proposal != Proposal::Update {
            return Err(Error::local(
                "bad_proposal",
                "only an update makes us another client",
            ));
        }
        if let Some(client) = client {
            let own = self
                .roster()
                .into_iter()
                .find(|one| one.leaf == self.own_leaf());
            if own.is_none_or(|one| one.extensions != client.leaf_extensions) {
                return Err(Error::local(
                    "bad_proposal",
                    "an update keeps the extensions of our leaf: a commit changes them",
                ));
            }
        }
        let mut engine = self.engine_of(client)?;
        let call = self.begin(&[]);
        call.encrypt(private.is_some(), private.unwrap_or_default());
        let data = authenticated_data.to_vec();
        let allowed = asked::allowed(proposal, &self.0.engine.roster(), self.context())?;
        let made = match &*allowed {
            Proposal::Add(key_package) => engine.propose_add(self.key_package(key_package)?, data),
            Proposal::Update => match client {
                Some(client) => engine.propose_update_with_identity(
                    client.signing_key.secret().clone(),
                    signing_identity(client),
                    data,
                ),
                None => engine.propose_update(data),
            },
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
            Proposal::ExternalInit | Proposal::ReInitInSuite { .. } => {
                return Err(asked::cannot_be_proposed(proposal))
            }
        };
        let message = made
            .and_then(|message| message.to_bytes())
            .map_err(|error| Doing::Making("proposal").failed(error))?;
        let mut kept = self.0.kept.clone();
        if private.is_some() {
            kept.sent = self.0.shared.spent.take_handshake(kept.sent)?;
        }
        Ok(Outgoing {
            message,
            group: self.step(engine, kept),
        })
    }

    /// In the order of their references: the engine keeps them in none.
    pub(super) fn proposals(&self) -> Result<Vec<Proposed>> {
        let cached = self.0.engine.get_cached_proposals();
        let mut known: Vec<Proposed> = cached
            .iter()
            .map(|one| {
                Ok(Proposed {
                    proposal: proposals::proposal(one.proposal())?,
                    proposer: proposals::proposer(one.sender())?,
                    reference: Some(one.proposal_ref().as_slice().to_vec()),
                })
            })
            .collect::<Result<_>>()?;
        known.sort_by(|one, other| one.reference.cmp(&other.reference));
        Ok(known)
    }

    /// A key package for this group, decoded.
    pub(super) fn key_package(&self, bytes: &[u8]) -> Result<MlsMessage> {
        key_package_for(self.suite(), bytes)
    }
}

/// A key package for a group of this suite, decoded.
pub(super) fn key_package_for(suite: u16, bytes: &[u8]) -> Result<MlsMessage> {
    let message = received(bytes)?;
    if message.cipher_suite() != Some(CipherSuite::new(suite)) {
        return Err(
            Error::remote("wrong_suite", "it is for another cipher suite")
                .at("key_package")
                .section("RFC 9420 section 10.1"),
        );
    }
    keys::of_key_package(bytes)?;
    Ok(message)
}

//! One member at one epoch, on mls-rs. Every step works on a clone: mls-rs changes a group before its last checks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use mls_rs::extension::built_in::RatchetTreeExt;
use mls_rs::group::{
    CommitBuilder, CommitEffect, ExportedTree, Group as EngineGroup, ReceivedMessage, Roster,
};
use mls_rs::{ExtensionList, MlsMessage, WireFormat};
use mls_rs_codec::MlsDecode;
use mls_rs_core::psk::ExternalPskId;
use mls_rs_core::time::MlsTime;
use zeroize::Zeroizing;

use super::blame::Doing;
use super::config::{engine_client, list, signing_identity, Config};
use super::kept::Kept;
use super::keys;
use super::proposals;
use super::resumption::ours;
use super::roster::{all, changes, context, members};
use super::spent::Spent;
use super::table::Call;
use crate::client::distinct;
use crate::encoding::{decode, message};
use crate::engine::{
    Changes, CommitRequest, Committed, Extensions, ExternalJoin, GroupContext, Member,
    PreSharedKeys,
};
use crate::key_package::received;
use crate::message::{Limits, Outgoing, Padding};
use crate::proposal::{Proposal, Proposed, ReInit};
use crate::saved;
use crate::{Client, Error, KeyPackage, Lifetime, Result, Secret};

const OF_A_GROUP: [WireFormat; 2] = [WireFormat::PublicMessage, WireFormat::PrivateMessage];

/// One member at one epoch. Cloning shares it.
#[derive(Clone)]
pub struct Group(pub(super) Arc<Epoch>);

/// One value of an epoch: the engine's state with the proposals it knows and the message keys it has used.
pub(super) struct Epoch {
    pub(super) engine: EngineGroup<Config>,
    pub(super) kept: Kept,
    pub(super) limits: Limits,
    pub(super) shared: Arc<Shared>,
    /// The engine's state as it writes it; written when it is asked for, and when an epoch begins.
    state: OnceLock<Zeroizing<Vec<u8>>>,
}

/// What is the same for all values of one epoch.
pub(super) struct Shared {
    pub(super) context: GroupContext,
    pub(super) spent: Arc<Spent>,
    /// Signed once: with a randomised signature two GroupInfos of one epoch would differ.
    group_info: OnceLock<Vec<u8>>,
}

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
    pub(super) fn create(
        client: &Client,
        group_id: &[u8],
        extensions: &Extensions,
    ) -> Result<Self> {
        distinct(extensions)?;
        let call = Call::begin();
        let engine = engine_client(client, Some(Lifetime::WIDEST))
            .create_group_with_id(
                group_id.to_vec(),
                list(extensions),
                list(&client.leaf_extensions),
                Some(MlsTime::from(Lifetime::WIDEST.not_before)),
            )
            .map_err(|error| Doing::Alone("group").failed(error))?;
        Self::first(engine, &call, client.limits)
    }

    pub(super) fn join(
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        psks: &PreSharedKeys,
        now: Option<u64>,
    ) -> Result<Self> {
        ours(key_packages, client.signing_key.public())?;
        let message = message(welcome, "welcome", &[WireFormat::Welcome])?;
        let tree = tree
            .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
            .transpose()?;
        let call = Call::begin();
        call.lay_key_packages(key_packages.iter().map(|one| one.entry()).collect());
        call.lay_psks(psks);
        let (engine, _) = engine_client(client, None)
            .join_group(tree, &message, now.map(MlsTime::from))
            .map_err(|error| Doing::Reading("welcome").failed(error))?;
        Self::first(engine, &call, client.limits)
    }

    pub(super) fn join_external(
        client: &Client,
        join: &ExternalJoin<'_>,
    ) -> Result<Committed<Self>> {
        let group_info = message(join.group_info, "group_info", &[WireFormat::GroupInfo])?;
        if group_info.cipher_suite().map(|suite| suite.raw_value())
            != Some(client.signing_key.suite())
        {
            return Err(
                Error::remote("wrong_suite", "the group has another cipher suite").at("group_info"),
            );
        }
        let tree = join
            .tree
            .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
            .transpose()?;
        let call = Call::begin();
        call.lay_psks(join.psks);
        let mut builder = engine_client(client, None)
            .external_commit_builder()
            .map_err(|error| Doing::Making("commit").failed(error))?
            .with_leaf_node_extensions(list(&client.leaf_extensions))
            .with_authenticated_data(join.authenticated_data.to_vec());
        if let Some(leaf) = join.remove {
            let inside = || {
                group_info
                    .as_group_info()?
                    .extensions()
                    .get_as::<RatchetTreeExt>()
                    .ok()?
            };
            if let Some(tree) = tree.clone().or_else(|| Some(inside()?.tree_data)) {
                occupied(&tree.roster(), leaf)?;
            }
            builder = builder.with_removal(leaf);
        }
        for (id, _) in join.psks {
            builder = builder.with_external_psk(ExternalPskId::new(id.clone()));
        }
        if let Some(tree) = tree {
            builder = builder.with_tree_data(tree);
        }
        if let Some(now) = join.now {
            builder = builder.commit_time(MlsTime::from(now));
        }
        let (engine, commit) = builder
            .build(group_info)
            .map_err(|error| Doing::Making("group_info").failed(error))?;
        let message = commit
            .to_bytes()
            .map_err(|error| Doing::Making("commit").failed(error))?;
        Ok(Committed {
            message,
            welcome: None,
            // The engine's record of the epoch before holds no secret: we were not in it.
            group: Self::first(engine, &call, client.limits)?,
            parent: None,
            left_out: Vec::new(),
        })
    }

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
                return Err(
                    Error::remote("wrong_message_type", "a commit was expected").at("commit")
                )
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
            Some(self.next(engine, &call, changes.reinit.clone(), self.0.limits)?)
        };
        Ok(Staged { changes, child })
    }

    pub(super) fn with_proposal(&self, bytes: &[u8]) -> Result<Self> {
        let message = message(bytes, "proposal", &OF_A_GROUP)?;
        let _call = self.begin(&[]);
        let mut engine = self.0.engine.clone();
        match engine.process_incoming_message(message) {
            Ok(ReceivedMessage::Proposal(done)) => {
                proposals::may_be_sent(&done)?;
                keys::of_proposal(self.suite(), &done.proposal)?;
                Ok(self.step(engine, self.0.kept.clone()))
            }
            Ok(_) => {
                Err(Error::remote("wrong_message_type", "a proposal was expected").at("proposal"))
            }
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
        let made = match proposal {
            Proposal::Add(key_package) => engine.propose_add(self.key_package(key_package)?, data),
            Proposal::Update => match client {
                Some(client) => engine.propose_update_with_identity(
                    client.signing_key.secret().clone(),
                    signing_identity(client),
                    data,
                ),
                None => engine.propose_update(data),
            },
            Proposal::Remove(leaf) => {
                occupied(&self.0.engine.roster(), *leaf)?;
                engine.propose_remove(*leaf, data)
            }
            Proposal::ExternalPsk(id) => {
                engine.propose_external_psk(ExternalPskId::new(id.clone()), data)
            }
            Proposal::ResumptionPsk(psk) => {
                let epoch = proposals::own_epoch(psk, &self.0.shared.context.group_id)?;
                engine.propose_resumption_psk(epoch, data)
            }
            Proposal::ReInit(next) => {
                distinct(&next.extensions)?;
                engine.propose_reinit(
                    Some(next.group_id.clone()),
                    next.version.into(),
                    next.suite.into(),
                    list(&next.extensions),
                    data,
                )
            }
            Proposal::ContextExtensions(extensions) => {
                distinct(extensions)?;
                engine.propose_group_context_extensions(list(extensions), data)
            }
            Proposal::Custom { number, data: body } => {
                engine.propose_custom(proposals::custom(*number, body)?, data)
            }
            Proposal::ExternalInit => return Err(proposals::cannot_be_proposed(proposal)),
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

    pub(super) fn commit(&self, request: &CommitRequest<'_>) -> Result<Committed<Self>> {
        // What the group knew and is not valid is left out. So what fails comes from a key package, or else from the caller.
        let adds = |one: &Proposal| matches!(one, Proposal::Add(_));
        let doing = if request.proposals.iter().any(adds) {
            Doing::Making("commit")
        } else {
            Doing::Alone("commit")
        };
        let making = |error| doing.failed(error);
        let mut time = request.now.unwrap_or(u64::MAX);
        let mut engine = self.engine_of(request.client)?;
        let limits = request.client.map_or(self.0.limits, |client| client.limits);
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
            group: self.next(engine, &call, reinit, limits)?,
            parent: Some(parent),
            left_out: all(&output.unused_proposals)?,
        })
    }

    fn with<'a>(
        &self,
        builder: CommitBuilder<'a, Config>,
        proposal: &Proposal,
    ) -> Result<CommitBuilder<'a, Config>> {
        let added = match proposal {
            Proposal::Add(key_package) => builder.add_member(self.key_package(key_package)?),
            Proposal::Remove(leaf) => {
                occupied(&self.0.engine.roster(), *leaf)?;
                builder.remove_member(*leaf)
            }
            Proposal::ExternalPsk(id) => builder.add_external_psk(ExternalPskId::new(id.clone())),
            Proposal::ResumptionPsk(psk) => {
                let epoch = proposals::own_epoch(psk, &self.0.shared.context.group_id)?;
                builder.add_resumption_psk(epoch)
            }
            Proposal::ReInit(next) => {
                distinct(&next.extensions)?;
                builder.reinit(
                    Some(next.group_id.clone()),
                    next.version.into(),
                    next.suite.into(),
                    list(&next.extensions),
                )
            }
            Proposal::ContextExtensions(extensions) => {
                distinct(extensions)?;
                builder.set_group_context_ext(list(extensions))
            }
            Proposal::Custom { number, data } => {
                Ok(builder.custom_proposal(proposals::custom(*number, data)?))
            }
            // A committer updates itself by the path (RFC 9420 section 12.2).
            Proposal::Update | Proposal::ExternalInit => {
                return Err(proposals::cannot_be_proposed(proposal))
            }
        };
        added.map_err(|error| Doing::Making("commit").failed(error))
    }

    /// A key package for this group, decoded.
    fn key_package(&self, bytes: &[u8]) -> Result<MlsMessage> {
        let message = received(bytes)?;
        if message.cipher_suite() != Some(self.0.engine.cipher_suite()) {
            return Err(
                Error::remote("wrong_suite", "it is for another cipher suite")
                    .at("key_package")
                    .section("RFC 9420 section 10.1"),
            );
        }
        keys::of_key_package(bytes)?;
        Ok(message)
    }

    pub(super) fn load(client: &Client, saved: &Secret) -> Result<Self> {
        let (state, mut kept) = saved::open_group(saved, Kept::decode)?;
        let call = Call::begin();
        call.lay_state(state);
        let engine = engine_client(client, None)
            .load_group(&[])
            .map_err(|error| Doing::Loading.failed(error))?;
        let own = engine
            .current_member_signing_identity()
            .map_err(|error| Doing::Loading.failed(error))?;
        if own.signature_key != *client.signing_key.public_key() {
            return Err(Error::local(
                "wrong_client",
                "this group belongs to another signature key",
            ));
        }
        kept.limit(client.limits);
        Self::settle(engine, &call, kept, client.limits)
    }

    /// What was saved before there were application messages has one form for ever, and a group that has sent none and
    /// keeps no past epoch still has it.
    pub(super) fn save(&self) -> Result<Secret> {
        let state = self.state()?;
        if self.0.kept.is_empty() {
            saved::seal_group(state, None)
        } else {
            saved::seal_group(state, Some(&self.0.kept.encode()?))
        }
    }

    pub(super) fn state(&self) -> Result<&Zeroizing<Vec<u8>>> {
        if let Some(known) = self.0.state.get() {
            return Ok(known);
        }
        let call = Call::begin();
        let mut engine = self.0.engine.clone();
        let written = write(&mut engine, &call)?;
        Ok(self.0.state.get_or_init(|| written))
    }

    pub(super) fn reinit(&self) -> Option<&ReInit> {
        self.0.kept.reinit.as_ref()
    }

    fn suite(&self) -> u16 {
        self.0.shared.context.suite
    }

    pub(super) fn own_leaf(&self) -> u32 {
        self.0.engine.current_member_index()
    }

    pub(super) fn context(&self) -> &GroupContext {
        &self.0.shared.context
    }

    pub(super) fn roster(&self) -> Vec<Member> {
        members(&self.0.engine.roster())
    }

    pub(super) fn epoch_authenticator(&self) -> Result<Secret> {
        let secret = self
            .0
            .engine
            .epoch_authenticator()
            .map_err(|error| Doing::Alone("group").failed(error))?;
        Ok(Secret::from(secret.as_bytes()))
    }

    pub(super) fn export(&self, label: &[u8], context: &[u8], length: usize) -> Result<Secret> {
        // KDFLabel.length is a uint16 (RFC 9420 section 8), and HKDF-Expand ends at 255 hashes (RFC 5869 section 2.3).
        let secret = self.0.engine.export_secret(label, context, length);
        match secret {
            Ok(secret) => Ok(Secret::from(secret.as_bytes())),
            Err(_) => Err(Error::local(
                "bad_length",
                format!("{length} bytes cannot be exported"),
            )),
        }
    }

    pub(super) fn tree(&self) -> Result<Vec<u8>> {
        self.0
            .engine
            .export_tree()
            .to_bytes()
            .map_err(|error| Doing::Alone("tree").failed(error))
    }

    pub(super) fn group_info(&self, with_tree: bool) -> Result<Vec<u8>> {
        let sign = || {
            self.0
                .engine
                .group_info_message_allowing_ext_commit(with_tree)
                .and_then(|message| message.to_bytes())
                .map_err(|error| Doing::Alone("group_info").failed(error))
        };
        if with_tree {
            return sign();
        }
        if let Some(known) = self.0.shared.group_info.get() {
            return Ok(known.clone());
        }
        let made = sign()?;
        Ok(self.0.shared.group_info.get_or_init(|| made).clone())
    }

    /// The engine keeps the tag to itself; its own GroupInfo shows it, after the context and the extensions.
    pub(super) fn confirmation_tag(&self) -> Result<Vec<u8>> {
        const MESSAGE_HEADER: usize = 4;
        let group_info = self.group_info(false)?;
        let strange = || Error::local("engine_refused", "the engine's GroupInfo has another form");
        let mut rest = group_info
            .get(MESSAGE_HEADER + self.0.shared.context.encoded.len()..)
            .ok_or_else(strange)?;
        ExtensionList::mls_decode(&mut rest).map_err(|_| strange())?;
        mls_rs_codec::byte_vec::mls_decode(&mut rest).map_err(|_| strange())
    }

    #[cfg(test)]
    pub(super) fn engine_for_tests(&self) -> EngineGroup<Config> {
        self.0.engine.clone()
    }

    /// A copy of the engine's group to work on. For another client it is loaded anew, which takes that one's rules and
    /// capabilities.
    fn engine_of(&self, client: Option<&Client>) -> Result<EngineGroup<Config>> {
        let Some(client) = client else {
            return Ok(self.0.engine.clone());
        };
        if client.signing_key.suite() != self.0.shared.context.suite {
            return Err(Error::local(
                "wrong_client",
                "the client is of another cipher suite",
            ));
        }
        let state = self.state()?.clone();
        let call = Call::begin();
        call.lay_state(state);
        engine_client(client, None)
            .load_group(&[])
            .map_err(|error| Doing::Alone("group").failed(error))
    }

    /// A call into the engine on this group: what past epochs need lies on the table, and the values of external PSKs.
    pub(super) fn begin(&self, psks: &PreSharedKeys) -> Call {
        let call = Call::begin();
        call.lay_psks(psks);
        call.lay_past(&self.0.shared.context.group_id, &self.0.kept.past);
        call
    }

    /// The same epoch, after a step that leaves it as it is.
    pub(super) fn step(&self, engine: EngineGroup<Config>, kept: Kept) -> Self {
        Self(Arc::new(Epoch {
            engine,
            kept,
            limits: self.0.limits,
            shared: Arc::clone(&self.0.shared),
            state: OnceLock::new(),
        }))
    }

    /// The next epoch, which remembers of this one what the limits say.
    fn next(
        &self,
        mut engine: EngineGroup<Config>,
        call: &Call,
        reinit: Option<ReInit>,
        limits: Limits,
    ) -> Result<Self> {
        let state = write(&mut engine, call)?;
        let record = call.take_ended().map(|record| record.data);
        let kept = self
            .0
            .kept
            .next(limits, self.0.shared.context.epoch, record, reinit);
        Self::of(engine, state, kept, limits)
    }

    /// The first epoch we are in.
    pub(super) fn first(engine: EngineGroup<Config>, call: &Call, limits: Limits) -> Result<Self> {
        keys::of_tree(&engine.export_tree())?;
        Self::settle(engine, call, Kept::default(), limits)
    }

    fn settle(
        mut engine: EngineGroup<Config>,
        call: &Call,
        kept: Kept,
        limits: Limits,
    ) -> Result<Self> {
        let state = write(&mut engine, call)?;
        Self::of(engine, state, kept, limits)
    }

    fn of(
        engine: EngineGroup<Config>,
        state: Zeroizing<Vec<u8>>,
        kept: Kept,
        limits: Limits,
    ) -> Result<Self> {
        let authenticator = engine
            .epoch_authenticator()
            .map_err(|error| Doing::Alone("group").failed(error))?;
        let shared = Shared {
            context: context(engine.context())?,
            spent: Spent::of(
                authenticator.as_bytes(),
                engine.current_member_index(),
                kept.sent,
            )?,
            group_info: OnceLock::new(),
        };
        Ok(Self(Arc::new(Epoch {
            engine,
            kept,
            limits,
            shared: Arc::new(shared),
            state: OnceLock::from(state),
        })))
    }
}

/// Writes the engine's state, which empties its queue of past epochs: the table has the newest of them afterwards.
pub(super) fn write(engine: &mut EngineGroup<Config>, call: &Call) -> Result<Zeroizing<Vec<u8>>> {
    engine
        .write_to_storage()
        .map_err(|error| Doing::Alone("group").failed(error))?;
    call.take_state()
        .ok_or_else(|| Error::local("store_failure", "the engine wrote no state"))
}

/// Only a leaf that somebody sits in can be removed; the engine would tell of node indexes.
pub(super) fn occupied(roster: &Roster<'_>, leaf: u32) -> Result<()> {
    match roster.member_with_index(leaf) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::local(
            "unknown_leaf",
            format!("nobody sits in leaf {leaf}"),
        )),
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

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Group(epoch={}, own_leaf={})",
            self.0.shared.context.epoch,
            self.own_leaf()
        )
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Staged")
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

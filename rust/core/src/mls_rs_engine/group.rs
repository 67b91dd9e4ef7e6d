//! One member at one epoch, on mls-rs. Every step works on a clone: mls-rs changes a group before its last checks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use mls_rs::group::Group as EngineGroup;
use mls_rs::ExtensionList;
use mls_rs_codec::MlsDecode;
use zeroize::Zeroizing;

use super::blame::{Doing, ENDED};
use super::config::{engine_client, Config};
use super::kept::Kept;
use super::keys;
use super::roster::{context, members};
use super::spent::Spent;
use super::table::Call;
use crate::engine::{GroupContext, Member, PreSharedKeys};
use crate::message::Limits;
use crate::proposal::ReInit;
use crate::saved;
use crate::{Client, Error, Result, Secret, Successor};

/// One member at one epoch. Cloning shares it.
#[derive(Clone)]
pub struct Group(pub(super) Arc<Epoch>);

/// One value of an epoch: the engine's state with the proposals it knows and the message keys it has used.
pub(super) struct Epoch {
    pub(super) engine: EngineGroup<Config>,
    pub(super) kept: Kept,
    pub(super) terms: Terms,
    pub(super) shared: Arc<Shared>,
    /// The engine's state as it writes it; written when it is asked for, and when an epoch begins.
    state: OnceLock<Zeroizing<Vec<u8>>>,
}

/// What a group has from the client it was made, joined or loaded with, epoch after epoch.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) limits: Limits,
    successor: Successor,
}

impl Terms {
    pub(super) fn of(client: &Client) -> Self {
        Self {
            limits: client.limits,
            successor: client.rules.successor,
        }
    }
}

/// What is the same for all values of one epoch.
pub(super) struct Shared {
    pub(super) context: GroupContext,
    pub(super) spent: Arc<Spent>,
    /// Signed once: with a randomised signature two GroupInfos of one epoch would differ.
    group_info: OnceLock<Vec<u8>>,
}

impl Group {
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
        Self::settle(engine, &call, kept, Terms::of(client))
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

    /// Nobody sends anything in a group that has ended, and nobody is let in.
    pub(super) fn may_send(&self) -> Result<()> {
        match self.reinit() {
            None => Ok(()),
            Some(_) => Err(Error::local("group_ended", "this group has ended").section(ENDED)),
        }
    }

    /// What somebody sends in it all the same is not taken.
    pub(super) fn goes_on(&self, place: &'static str) -> Result<()> {
        match self.reinit() {
            None => Ok(()),
            Some(_) => Err(Error::remote(
                "group_ended",
                "its sender knows that this group has ended",
            )
            .at(place)
            .section(ENDED)),
        }
    }

    pub(super) fn suite(&self) -> u16 {
        self.0.shared.context.suite
    }

    pub(super) fn own_leaf(&self) -> u32 {
        self.0.engine.current_member_index()
    }

    /// The public signature key of our leaf.
    pub(super) fn own_key(&self) -> Result<&[u8]> {
        let own = self.0.engine.current_member_signing_identity();
        own.map(|own| own.signature_key.as_bytes())
            .map_err(|error| Doing::Alone("group").failed(error))
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
    pub(super) fn engine_of(&self, client: Option<&Client>) -> Result<EngineGroup<Config>> {
        let Some(client) = client else {
            return Ok(self.0.engine.clone());
        };
        if client.signing_key.suite() != self.0.shared.context.suite {
            return Err(Error::local(
                "wrong_client",
                "the client is of another cipher suite",
            ));
        }
        let own = self.0.engine.current_member_signing_identity();
        let own = own.map_err(|error| Doing::Alone("group").failed(error))?;
        // The rule of this group is to be the members'. The client's own comes with it and may be looser or stricter.
        let new = client.credential.to_engine();
        let allows = |rule: Successor| rule.allows_credential(&own.credential, &new) == Ok(true);
        if !allows(self.0.terms.successor) || !allows(client.rules.successor) {
            return Err(
                Error::local("bad_successor", "its credential may not take our place")
                    .section("RFC 9420 section 5.3.1"),
            );
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
            terms: self.0.terms,
            shared: Arc::clone(&self.0.shared),
            state: OnceLock::new(),
        }))
    }

    /// The next epoch, which remembers of this one what the limits say.
    pub(super) fn next(
        &self,
        mut engine: EngineGroup<Config>,
        call: &Call,
        reinit: Option<ReInit>,
        terms: Terms,
    ) -> Result<Self> {
        let state = write(&mut engine, call)?;
        let record = call.take_ended().map(|record| record.data);
        let ended = self.0.shared.context.epoch;
        let kept = self.0.kept.next(terms.limits, ended, record, reinit);
        Self::of(engine, state, kept, terms)
    }

    /// The first epoch we are in.
    pub(super) fn first(engine: EngineGroup<Config>, call: &Call, terms: Terms) -> Result<Self> {
        keys::of_tree(&engine.export_tree())?;
        Self::settle(engine, call, Kept::default(), terms)
    }

    fn settle(
        mut engine: EngineGroup<Config>,
        call: &Call,
        kept: Kept,
        terms: Terms,
    ) -> Result<Self> {
        let state = write(&mut engine, call)?;
        Self::of(engine, state, kept, terms)
    }

    fn of(
        engine: EngineGroup<Config>,
        state: Zeroizing<Vec<u8>>,
        kept: Kept,
        terms: Terms,
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
            terms,
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

//! One member at one epoch, on mls-rs. Every step works on a clone: mls-rs changes a group before its last checks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use mls_rs::extension::built_in::RatchetTreeExt;
use mls_rs::group::{ExportedTree, Group as EngineGroup, ReceivedMessage, Roster};
use mls_rs::{ExtensionList, MlsMessage, WireFormat};
use mls_rs_codec::MlsDecode;
use mls_rs_core::time::MlsTime;
use zeroize::Zeroizing;

use super::blame::Doing;
use super::config::{engine_client, list, Config};
use super::roster::{changes, context, members};
use super::table::Call;
use crate::client::distinct;
use crate::encoding::{decode, message};
use crate::engine::{
    Changes, CommitRequest, Committed, Extensions, ExternalJoin, GroupContext, Member,
    PreSharedKeys,
};
use crate::key_package::received;
use crate::saved::{self, Kind};
use crate::{Client, Error, KeyPackage, Lifetime, Result, Secret};

const OF_A_GROUP: [WireFormat; 2] = [WireFormat::PublicMessage, WireFormat::PrivateMessage];

/// One member at one epoch. Cloning shares it.
#[derive(Clone)]
pub struct Group(Arc<Epoch>);

struct Epoch {
    engine: EngineGroup<Config>,
    context: GroupContext,
    /// What was written when this epoch was made. Writing empties the engine's queue of past epochs, so it is done for
    /// each epoch whether it will be saved or not.
    state: Zeroizing<Vec<u8>>,
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
        Self::settle(engine, &call)
    }

    pub(super) fn join(
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        psks: &PreSharedKeys,
    ) -> Result<Self> {
        if key_packages
            .iter()
            .any(|one| one.signature_key() != client.signing_key.public())
        {
            return Err(Error::local(
                "wrong_client",
                "a key package belongs to another signature key",
            ));
        }
        let message = message(welcome, "welcome", &[WireFormat::Welcome])?;
        let tree = tree
            .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
            .transpose()?;
        let call = Call::begin();
        call.lay_key_packages(key_packages.iter().map(|one| one.entry()).collect());
        call.lay_psks(psks);
        let (engine, _) = engine_client(client, None)
            .join_group(tree, &message, None)
            .map_err(|error| Doing::Reading("welcome").failed(error))?;
        Self::settle(engine, &call)
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
        if let Some(tree) = tree {
            builder = builder.with_tree_data(tree);
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
            group: Self::settle(engine, &call)?,
        })
    }

    pub(super) fn stage(&self, bytes: &[u8], psks: &PreSharedKeys) -> Result<Staged> {
        let message = message(bytes, "commit", &OF_A_GROUP)?;
        let call = Call::begin();
        call.lay_psks(psks);
        let mut engine = self.0.engine.clone();
        let done = match engine.process_incoming_message(message) {
            Ok(ReceivedMessage::Commit(done)) => done,
            Ok(_) => {
                return Err(
                    Error::remote("wrong_message_type", "a commit was expected").at("commit")
                )
            }
            Err(error) => return Err(Doing::Reading("commit").failed(error)),
        };
        let changes = changes(&done, &self.0.engine.export_tree(), &engine.export_tree())?;
        let child = if changes.removes_us {
            None
        } else {
            Some(Self::settle(engine, &call)?)
        };
        Ok(Staged { changes, child })
    }

    pub(super) fn propose(&self, bytes: &[u8]) -> Result<Self> {
        let message = message(bytes, "proposal", &OF_A_GROUP)?;
        let call = Call::begin();
        let mut engine = self.0.engine.clone();
        match engine.process_incoming_message(message) {
            Ok(ReceivedMessage::Proposal(_)) => Self::settle(engine, &call),
            Ok(_) => {
                Err(Error::remote("wrong_message_type", "a proposal was expected").at("proposal"))
            }
            Err(error) => Err(Doing::Reading("proposal").failed(error)),
        }
    }

    pub(super) fn commit(&self, request: &CommitRequest<'_>) -> Result<Committed<Self>> {
        let making = |error| Doing::Making("commit").failed(error);
        let mut time = request.now.unwrap_or(u64::MAX);
        let call = Call::begin();
        call.require_path(request.path);
        let mut engine = self.0.engine.clone();
        let mut builder = engine.commit_builder();
        for bytes in request.add {
            let message = received(bytes)?;
            if message.cipher_suite() != Some(self.0.engine.cipher_suite()) {
                return Err(
                    Error::remote("wrong_suite", "it is for another cipher suite")
                        .at("key_package")
                        .section("RFC 9420 section 10.1"),
                );
            }
            if request.now.is_none() {
                time = time.min(expiry(&message)?);
            }
            builder = builder.add_member(message).map_err(making)?;
        }
        for leaf in request.remove {
            occupied(&self.0.engine.roster(), *leaf)?;
            builder = builder.remove_member(*leaf).map_err(making)?;
        }
        // The engine reads the clock unless a time is given. Without `now` no lifetime shall be checked, so the time given
        // is the last moment at which everyone added is still good.
        let (output, secrets) = builder
            .authenticated_data(request.authenticated_data.to_vec())
            .commit_time(MlsTime::from(time))
            .build_detached()
            .map_err(making)?;
        engine.apply_detached_commit(secrets).map_err(making)?;
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
            group: Self::settle(engine, &call)?,
        })
    }

    pub(super) fn load(client: &Client, saved: &Secret) -> Result<Self> {
        let state = saved::open(Kind::Group, saved)?;
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
        Self::settle(engine, &call)
    }

    pub(super) fn save(&self) -> Result<Secret> {
        saved::seal(Kind::Group, &self.0.state)
    }

    pub(super) fn own_leaf(&self) -> u32 {
        self.0.engine.current_member_index()
    }

    pub(super) fn context(&self) -> &GroupContext {
        &self.0.context
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
        if let Some(known) = self.0.group_info.get() {
            return Ok(known.clone());
        }
        let made = sign()?;
        Ok(self.0.group_info.get_or_init(|| made).clone())
    }

    /// The engine keeps the tag to itself; its own GroupInfo shows it, after the context and the extensions.
    pub(super) fn confirmation_tag(&self) -> Result<Vec<u8>> {
        const MESSAGE_HEADER: usize = 4;
        let group_info = self.group_info(false)?;
        let strange = || Error::local("engine_refused", "the engine's GroupInfo has another form");
        let mut rest = group_info
            .get(MESSAGE_HEADER + self.0.context.encoded.len()..)
            .ok_or_else(strange)?;
        ExtensionList::mls_decode(&mut rest).map_err(|_| strange())?;
        mls_rs_codec::byte_vec::mls_decode(&mut rest).map_err(|_| strange())
    }

    #[cfg(test)]
    pub(super) fn engine_for_tests(&self) -> EngineGroup<Config> {
        self.0.engine.clone()
    }

    fn settle(mut engine: EngineGroup<Config>, call: &Call) -> Result<Self> {
        let context = context(engine.context())?;
        engine
            .write_to_storage()
            .map_err(|error| Doing::Alone("group").failed(error))?;
        let state = call
            .take_state()
            .ok_or_else(|| Error::local("store_failure", "the engine wrote no state"))?;
        Ok(Self(Arc::new(Epoch {
            engine,
            context,
            state,
            group_info: OnceLock::new(),
        })))
    }
}

/// Only a leaf that somebody sits in can be removed; the engine would tell of node indexes.
fn occupied(roster: &Roster<'_>, leaf: u32) -> Result<()> {
    match roster.member_with_index(leaf) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::local(
            "unknown_leaf",
            format!("nobody sits in leaf {leaf}"),
        )),
    }
}

fn expiry(message: &MlsMessage) -> Result<u64> {
    let expired = message
        .as_key_package()
        .map(mls_rs::KeyPackage::expiration)
        .transpose();
    let time = expired.map_err(|error| Doing::Reading("key_package").failed(error))?;
    Ok(time.map_or(u64::MAX, |time| time.seconds_since_epoch()))
}

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Group(epoch={}, own_leaf={})",
            self.0.context.epoch,
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

//! Groups that follow on another one with its resumption PSK: reinitialization and branching (RFC 9420 sections 11.2, 11.3).
//!
//! Making one is the one thing for which the engine reads the clock: the commit inside takes no time from outside, and
//! checks the lifetimes of the key packages. Nor does it take proposals: the resumption PSK is the only one mixed in.

use mls_rs::group::{ExportedTree, Group as EngineGroup, ReinitClient};
use mls_rs::{MlsMessage, WireFormat};
use mls_rs_codec::MlsEncode;
use mls_rs_core::time::MlsTime;
use zeroize::Zeroizing;

use super::blame::Doing;
use super::config::{engine_client, signing_identity, Config};
use super::extensions::list;
use super::group::{Group, Terms};
use super::proposing::key_package_for;
use super::table::Call;
use crate::encoding::{decode, message, put};
use crate::engine::Founded;
use crate::proposal::ReInit;
use crate::{Client, Error, KeyPackage, Lifetime, Result};

const ALWAYS: u64 = Lifetime::WIDEST.not_before;

impl Group {
    /// A group of some of this one's members, who are added by fresh key packages of theirs.
    pub(super) fn branch(&self, group_id: &[u8], key_packages: &[&[u8]]) -> Result<Founded<Self>> {
        if group_id == self.context().group_id {
            return Err(
                Error::local("bad_group_id", "a branch has an identifier of its own")
                    .section("RFC 9420 section 11"),
            );
        }
        let packages = decoded(self.suite(), key_packages)?;
        let own = self.own_key()?;
        let call = self.begin(&[]);
        let (engine, welcomes) = self
            .0
            .engine
            .branch(group_id.to_vec(), packages, Some(MlsTime::from(ALWAYS)))
            .map_err(|error| {
                Doing::Making("key_package").failed_adding(error, key_packages, own)
            })?;
        founded(engine, &welcomes, &call, self.0.terms)
    }

    pub(super) fn join_branch(
        &self,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        now: Option<u64>,
    ) -> Result<Self> {
        ours(key_packages, self.own_key()?)?;
        let (welcome, tree) = opened(welcome, tree)?;
        let call = self.begin(&[]);
        call.lay_key_packages(key_packages.iter().map(|one| one.entry()).collect());
        let (engine, _) = self
            .0
            .engine
            .join_subgroup(&welcome, tree, now.map(MlsTime::from))
            .map_err(|error| Doing::Reading("welcome").failed(error))?;
        Self::first(engine, &call, self.0.terms)
    }

    /// The group that this one was ended for, made by `client`, who was in it.
    pub(super) fn reinitialize(
        &self,
        client: &Client,
        key_packages: &[&[u8]],
    ) -> Result<Founded<Self>> {
        // What the new group asks of all and we ourselves do not understand is not the others' fault.
        let next = self.followed_by(client)?;
        Self::create(client, &next.group_id, &next.extensions)?;
        let packages = decoded(next.suite, key_packages)?;
        let (old, call) = self.successor(client)?;
        let (engine, welcomes) = old
            .commit(
                packages,
                list(&client.leaf_extensions),
                Some(MlsTime::from(ALWAYS)),
            )
            .map_err(|error| {
                let own = client.signing_key.public();
                Doing::Making("key_package").failed_adding(error, key_packages, own)
            })?;
        founded(engine, &welcomes, &call, Terms::of(client))
    }

    pub(super) fn join_reinitialized(
        &self,
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        now: Option<u64>,
    ) -> Result<Self> {
        ours(key_packages, client.signing_key.public())?;
        let (welcome, tree) = opened(welcome, tree)?;
        let (old, call) = self.successor(client)?;
        call.lay_key_packages(key_packages.iter().map(|one| one.entry()).collect());
        let (engine, _) = old
            .join(&welcome, tree, now.map(MlsTime::from))
            .map_err(|error| Doing::Reading("welcome").failed(error))?;
        Self::first(engine, &call, Terms::of(client))
    }

    /// What follows this group, if it has ended and `client` can be in that.
    fn followed_by(&self, client: &Client) -> Result<&ReInit> {
        let next = self.reinit().ok_or_else(|| {
            Error::local("wrong_state", "this group has not ended").section("RFC 9420 section 11.2")
        })?;
        if next.suite != client.signing_key.suite() {
            return Err(
                Error::local("wrong_client", "the new group has another cipher suite")
                    .section("RFC 9420 section 11.2"),
            );
        }
        Ok(next)
    }

    /// The engine's client for the group that follows.
    ///
    /// The engine compares the old tree with the new one by their numbers of nodes, so that a group with a blank leaf in its
    /// midst could never be followed by another. It is shown the old group with its leaves moved together; nothing but the
    /// identities in them is looked at from here on. Loading it also takes the rules and capabilities of `client`.
    fn successor(&self, client: &Client) -> Result<(ReinitClient<Config>, Call)> {
        self.followed_by(client)?;
        let state = Zeroizing::new(self.state()?.to_vec());
        let tree = moved_together(&self.0.engine)?;
        let call = Call::begin();
        call.lay_state(state);
        let old = engine_client(client, Some(Lifetime::WIDEST))
            .load_group_with_ratchet_tree(&[], tree)
            .and_then(|engine| {
                engine.get_reinit_client(
                    Some(client.signing_key.secret().clone()),
                    Some(signing_identity(client)),
                )
            })
            .map_err(|error| Doing::Alone("group").failed(error))?;
        Ok((old, call))
    }
}

fn founded(
    engine: EngineGroup<Config>,
    welcomes: &[MlsMessage],
    call: &Call,
    terms: Terms,
) -> Result<Founded<Group>> {
    let welcome = welcomes
        .first()
        .map(MlsMessage::to_bytes)
        .transpose()
        .map_err(|error| Doing::Alone("welcome").failed(error))?;
    Ok(Founded {
        welcome,
        group: Group::first(engine, call, terms)?,
    })
}

fn moved_together(engine: &EngineGroup<Config>) -> Result<ExportedTree<'static>> {
    let strange = |error: mls_rs_codec::Error| Error::local("engine_refused", error.to_string());
    let mut nodes = Vec::new();
    // Leaves are the even nodes (RFC 9420 appendix C); between two of them stands a parent, blank here.
    for leaf in engine.export_tree().nodes().iter().step_by(2).flatten() {
        if !nodes.is_empty() {
            None::<u8>.mls_encode(&mut nodes).map_err(strange)?;
        }
        Some(leaf.clone()).mls_encode(&mut nodes).map_err(strange)?;
    }
    let mut encoded = Vec::new();
    put(&nodes, &mut encoded)?;
    decode(&encoded, "tree")
}

fn decoded(suite: u16, key_packages: &[&[u8]]) -> Result<Vec<MlsMessage>> {
    key_packages
        .iter()
        .map(|bytes| key_package_for(suite, bytes))
        .collect()
}

fn opened(
    welcome: &[u8],
    tree: Option<&[u8]>,
) -> Result<(MlsMessage, Option<ExportedTree<'static>>)> {
    let welcome = message(welcome, "welcome", &[WireFormat::Welcome])?;
    let tree = tree
        .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
        .transpose()?;
    Ok((welcome, tree))
}

/// Key packages that the caller hands in to join with are its own, and there is one.
pub(super) fn ours(key_packages: &[&KeyPackage], key: &[u8]) -> Result<()> {
    if key_packages.is_empty() {
        return Err(
            Error::local("no_key_package", "no key package is given to open it with")
                .section("RFC 9420 section 12.4.3.1"),
        );
    }
    if key_packages.iter().all(|one| one.signature_key() == key) {
        Ok(())
    } else {
        Err(Error::local(
            "wrong_client",
            "a key package belongs to another signature key",
        ))
    }
}

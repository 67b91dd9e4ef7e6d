//! The engine in use: mls-rs. The only module that names it, with `key_package.rs` for the wire types it borrows.

mod asked;
mod blame;
mod committing;
mod config;
mod extensions;
mod group;
mod joining;
mod kept;
mod keys;
mod observer;
mod private;
mod proposals;
mod proposing;
mod resumption;
mod roster;
mod spent;
mod table;

use zeroize::Zeroizing;

use crate::engine::{
    Changes, CommitRequest, Committed, Engine, ExternalJoin, Founded, GroupContext, Member,
    PreSharedKeys,
};
use crate::extensions::Extensions;
use crate::message::{Outgoing, Padding, Received};
use crate::proposal::{Proposal, Proposed, ReInit};
use crate::provider::{failed, sha256_suite};
use crate::shield::{shielded, shielded_locally, shielded_on_one_thread};
use crate::{Client, IdentityRules, KeyPackage, Lifetime, Result, Secret};
pub use committing::Staged;
pub use extensions::{external_senders, required_capabilities};
pub use group::Group;
use mls_rs_core::crypto::CipherSuiteProvider;
pub use observer::Observer;

/// mls-rs behind `Engine`.
#[derive(Clone, Copy, Debug)]
pub struct MlsRs;

impl Engine for MlsRs {
    type Group = Group;
    type Staged = Staged;
    type Observer = Observer;

    fn key_package(
        client: &Client,
        lifetime: Lifetime,
        extensions: &Extensions,
    ) -> Result<KeyPackage> {
        shielded(|| config::key_package(client, lifetime, extensions))
    }

    fn create(client: &Client, group_id: &[u8], extensions: &Extensions) -> Result<Group> {
        shielded(|| Group::create(client, group_id, extensions))
    }

    fn join(
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        psks: &PreSharedKeys,
        now: Option<u64>,
    ) -> Result<Group> {
        shielded(|| Group::join(client, welcome, key_packages, tree, psks, now))
    }

    fn propose_join(
        client: &Client,
        group_info: &[u8],
        key_package: &KeyPackage,
        authenticated_data: &[u8],
    ) -> Result<Vec<u8>> {
        shielded(|| proposals::join(client, group_info, key_package, authenticated_data))
    }

    fn join_external(client: &Client, join: &ExternalJoin<'_>) -> Result<Committed<Group>> {
        shielded(|| Group::join_external(client, join))
    }

    fn stage(
        group: &Group,
        message: &[u8],
        psks: &PreSharedKeys,
        now: Option<u64>,
    ) -> Result<Staged> {
        shielded(|| group.stage(message, psks, now))
    }

    fn inspect(staged: &Staged) -> &Changes {
        &staged.changes
    }

    fn apply(staged: &Staged) -> Result<Group> {
        staged.apply()
    }

    fn with_proposal(group: &Group, message: &[u8]) -> Result<Group> {
        shielded(|| group.with_proposal(message))
    }

    fn propose(
        group: &Group,
        proposal: &Proposal,
        authenticated_data: &[u8],
        private: Option<Padding>,
        client: Option<&Client>,
    ) -> Result<Outgoing<Group>> {
        shielded(|| group.propose(proposal, authenticated_data, private, client))
    }

    fn proposals(group: &Group) -> Result<Vec<Proposed>> {
        shielded_on_one_thread(|| group.proposals())
    }

    fn encrypt(
        group: &Group,
        data: &[u8],
        authenticated_data: &[u8],
        padding: Padding,
    ) -> Result<Outgoing<Group>> {
        shielded(|| group.encrypt(data, authenticated_data, padding))
    }

    fn decrypt(group: &Group, message: &[u8]) -> Result<Received<Group>> {
        shielded(|| group.decrypt(message))
    }

    fn commit(group: &Group, request: &CommitRequest<'_>) -> Result<Committed<Group>> {
        shielded(|| group.commit(request))
    }

    fn branch(group: &Group, group_id: &[u8], key_packages: &[&[u8]]) -> Result<Founded<Group>> {
        shielded(|| group.branch(group_id, key_packages))
    }

    fn join_branch(
        group: &Group,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        now: Option<u64>,
    ) -> Result<Group> {
        shielded(|| group.join_branch(welcome, key_packages, tree, now))
    }

    fn reinitialize(
        group: &Group,
        client: &Client,
        key_packages: &[&[u8]],
    ) -> Result<Founded<Group>> {
        shielded(|| group.reinitialize(client, key_packages))
    }

    fn join_reinitialized(
        group: &Group,
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        now: Option<u64>,
    ) -> Result<Group> {
        shielded(|| group.join_reinitialized(client, welcome, key_packages, tree, now))
    }

    fn reinit(group: &Group) -> Option<&ReInit> {
        group.reinit()
    }

    fn own_leaf(group: &Group) -> u32 {
        group.own_leaf()
    }

    fn context(group: &Group) -> &GroupContext {
        group.context()
    }

    fn roster(group: &Group) -> Vec<Member> {
        group.roster()
    }

    fn confirmation_tag(group: &Group) -> Result<Vec<u8>> {
        shielded_on_one_thread(|| group.confirmation_tag())
    }

    fn epoch_authenticator(group: &Group) -> Result<Secret> {
        shielded_on_one_thread(|| group.epoch_authenticator())
    }

    fn export(group: &Group, label: &[u8], context: &[u8], length: usize) -> Result<Secret> {
        shielded_on_one_thread(|| group.export(label, context, length))
    }

    fn tree(group: &Group) -> Result<Vec<u8>> {
        shielded_on_one_thread(|| group.tree())
    }

    fn group_info(group: &Group, with_tree: bool) -> Result<Vec<u8>> {
        shielded(|| {
            group.may_send()?;
            group.group_info(with_tree)
        })
    }

    fn save(group: &Group) -> Result<Secret> {
        shielded(|| group.save())
    }

    fn load(client: &Client, saved: &Secret) -> Result<Group> {
        shielded_locally("bad_saved_state", || Group::load(client, saved))
    }

    fn observe(
        group_info: &[u8],
        tree: Option<&[u8]>,
        rules: &IdentityRules,
        sender: Option<&Client>,
    ) -> Result<Observer> {
        shielded(|| Observer::observe(group_info, tree, rules, sender))
    }

    fn propose_from_outside(
        observer: &Observer,
        proposal: &Proposal,
        authenticated_data: &[u8],
    ) -> Result<Vec<u8>> {
        shielded(|| observer.propose(proposal, authenticated_data))
    }

    fn follow(observer: &Observer, message: &[u8]) -> Result<Observer> {
        shielded(|| observer.follow(message))
    }

    fn observed_context(observer: &Observer) -> &GroupContext {
        observer.context()
    }

    fn observed_roster(observer: &Observer) -> Vec<Member> {
        observer.roster()
    }

    fn observed_tree(observer: &Observer) -> Result<Vec<u8>> {
        shielded_on_one_thread(|| observer.tree())
    }

    fn sender_keys(
        group: &Group,
        label: &[u8],
        context: &[u8],
        infos: &[&[u8]],
    ) -> Result<Vec<Secret>> {
        const KEY_LENGTH: usize = 32;
        let media_secret = Self::export(group, label, context, KEY_LENGTH)?;
        let functions = sha256_suite()?;
        infos
            .iter()
            .map(|info| functions.kdf_expand(media_secret.expose(), info, KEY_LENGTH))
            .map(|key: std::result::Result<Zeroizing<Vec<u8>>, _>| {
                key.map(Secret::from).map_err(|error| failed(&error))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;

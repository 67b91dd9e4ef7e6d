//! The one small trait the rest stands on, and the values that pass through it. Knows no engine.
//!
//! Every function takes its group by reference and gives a new one: nothing an engine does may be seen in the group it
//! was given. What can be told from bytes alone (`inspect` in the wider sense) needs no engine: it is the reader's work.

use std::fmt::Debug;

use crate::extensions::Extensions;
use crate::message::{Outgoing, Padding, Received};
use crate::proposal::{Proposal, Proposed, ReInit};
use crate::{Client, Credential, IdentityRules, KeyPackage, Lifetime, Result, Secret};

/// External pre-shared keys by their identifier (RFC 9420 section 8.4), given to a call that may need them.
pub type PreSharedKeys = [(Vec<u8>, Secret)];

/// One occupied leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub leaf: u32,
    pub credential: Credential,
    pub signature_key: Vec<u8>,
    pub extensions: Extensions,
}

/// What a commit would do, before it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The leaf that committed; none for an external commit, whose author was no member.
    pub sender: Option<u32>,
    pub external: bool,
    /// As they stand in the new epoch.
    pub added: Vec<Member>,
    /// As they stood in the old one.
    pub removed: Vec<Member>,
    /// Leaves that stay and were replaced, as they stand in the new epoch.
    pub updated: Vec<Member>,
    pub authenticated_data: Vec<u8>,
    /// All that the commit covers.
    pub proposals: Vec<Proposed>,
    /// What was proposed to us in the epoch before and the commit leaves out.
    pub left_out: Vec<Proposed>,
    /// The group ends with this commit, and this is to follow.
    pub reinit: Option<ReInit>,
    /// The commit removes the member that staged it. It cannot see the epoch this leads to; `added` and `updated` are empty.
    pub removes_us: bool,
}

/// What to commit, besides the proposals that the group knows. Adds come from others, the rest is the caller's word.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitRequest<'a> {
    pub proposals: &'a [Proposal],
    /// Values for the external PSKs that are proposed.
    pub psks: &'a PreSharedKeys,
    /// A path even where none is needed (RFC 9420 section 12.4): a commit that only adds has none otherwise.
    pub path: bool,
    pub authenticated_data: &'a [u8],
    /// Seconds since 1970, against which the lifetimes of those added are checked; not checked if absent.
    pub now: Option<u64>,
    /// Encrypted to the members; in the clear if absent.
    pub private: Option<Padding>,
    /// Who we are from this commit on: another credential, key and leaf extensions for our leaf.
    pub client: Option<&'a Client>,
}

/// How to join from outside (RFC 9420 section 12.4.3.2).
#[derive(Clone, Copy, Debug)]
pub struct ExternalJoin<'a> {
    pub group_info: &'a [u8],
    pub tree: Option<&'a [u8]>,
    pub remove: Option<u32>,
    /// External PSKs to inject, by identifier, and their values.
    pub psks: &'a PreSharedKeys,
    pub authenticated_data: &'a [u8],
    /// Seconds since 1970, against which lifetimes and certificates are checked; not checked if absent.
    pub now: Option<u64>,
}

/// A commit that was made. Nothing has happened yet: `group` is the epoch it leads to.
#[derive(Debug)]
pub struct Committed<G> {
    pub message: Vec<u8>,
    pub welcome: Option<Vec<u8>>,
    pub group: G,
    /// The epoch it was made in. A private commit has used one of our message keys: another one is to be made from here.
    pub parent: Option<G>,
    /// What was proposed to us and is not valid, or not together with the rest.
    pub left_out: Vec<Proposed>,
}

/// A group made on another one, at its epoch 1.
#[derive(Debug)]
pub struct Founded<G> {
    /// For all the others; none if there are none.
    pub welcome: Option<Vec<u8>>,
    pub group: G,
}

/// GroupContext (RFC 9420 section 8.1), with its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupContext {
    pub encoded: Vec<u8>,
    pub suite: u16,
    pub group_id: Vec<u8>,
    pub epoch: u64,
    pub tree_hash: Vec<u8>,
    pub extensions: Extensions,
}

/// An implementation of RFC 9420.
pub trait Engine {
    /// One member at one epoch.
    type Group: Clone + Debug + Send + Sync;
    /// A commit looked at, with the epoch it leads to.
    type Staged: Debug + Send + Sync;
    /// One epoch seen from outside.
    type Observer: Clone + Debug + Send + Sync;

    /// `extensions` are the key package's own, beside those of its leaf.
    fn key_package(
        client: &Client,
        lifetime: Lifetime,
        extensions: &Extensions,
    ) -> Result<KeyPackage>;
    fn create(client: &Client, group_id: &[u8], extensions: &Extensions) -> Result<Self::Group>;
    fn join(
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        psks: &PreSharedKeys,
        now: Option<u64>,
    ) -> Result<Self::Group>;
    /// A proposal to be added, made by who is not a member (RFC 9420 section 12.1.8.2).
    fn propose_join(
        client: &Client,
        group_info: &[u8],
        key_package: &KeyPackage,
        authenticated_data: &[u8],
    ) -> Result<Vec<u8>>;
    fn join_external(client: &Client, join: &ExternalJoin<'_>) -> Result<Committed<Self::Group>>;

    /// Processes a commit on a clone.
    fn stage(
        group: &Self::Group,
        message: &[u8],
        psks: &PreSharedKeys,
        now: Option<u64>,
    ) -> Result<Self::Staged>;
    /// What the staged commit does.
    fn inspect(staged: &Self::Staged) -> &Changes;
    /// The epoch the staged commit leads to.
    fn apply(staged: &Self::Staged) -> Result<Self::Group>;
    /// The same epoch, remembering a proposal that a later commit may name by reference.
    fn with_proposal(group: &Self::Group, message: &[u8]) -> Result<Self::Group>;
    /// Makes such a proposal. With an update, `client` is who we are once it is committed.
    fn propose(
        group: &Self::Group,
        proposal: &Proposal,
        authenticated_data: &[u8],
        private: Option<Padding>,
        client: Option<&Client>,
    ) -> Result<Outgoing<Self::Group>>;
    /// The proposals that it remembers.
    fn proposals(group: &Self::Group) -> Result<Vec<Proposed>>;
    /// Encrypts an application message; each key is used once (`mls_rs_engine/spent.rs`).
    fn encrypt(
        group: &Self::Group,
        data: &[u8],
        authenticated_data: &[u8],
        padding: Padding,
    ) -> Result<Outgoing<Self::Group>>;
    fn decrypt(group: &Self::Group, message: &[u8]) -> Result<Received<Self::Group>>;
    fn commit(group: &Self::Group, request: &CommitRequest<'_>) -> Result<Committed<Self::Group>>;

    /// Makes a group of some of this one's members (RFC 9420 section 11.3).
    fn branch(
        group: &Self::Group,
        group_id: &[u8],
        key_packages: &[&[u8]],
    ) -> Result<Founded<Self::Group>>;
    fn join_branch(
        group: &Self::Group,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        now: Option<u64>,
    ) -> Result<Self::Group>;
    /// Makes the group that follows one that has ended (RFC 9420 section 11.2).
    fn reinitialize(
        group: &Self::Group,
        client: &Client,
        key_packages: &[&[u8]],
    ) -> Result<Founded<Self::Group>>;
    fn join_reinitialized(
        group: &Self::Group,
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        now: Option<u64>,
    ) -> Result<Self::Group>;
    /// What follows this group, if it has ended.
    fn reinit(group: &Self::Group) -> Option<&ReInit>;
    fn own_leaf(group: &Self::Group) -> u32;
    fn context(group: &Self::Group) -> &GroupContext;
    fn roster(group: &Self::Group) -> Vec<Member>;
    fn confirmation_tag(group: &Self::Group) -> Result<Vec<u8>>;
    fn epoch_authenticator(group: &Self::Group) -> Result<Secret>;
    /// MLS-Exporter(label, context, length) (RFC 9420 section 8.5).
    fn export(group: &Self::Group, label: &[u8], context: &[u8], length: usize) -> Result<Secret>;
    fn tree(group: &Self::Group) -> Result<Vec<u8>>;
    /// A signed GroupInfo with external_pub, as an MLSMessage.
    fn group_info(group: &Self::Group, with_tree: bool) -> Result<Vec<u8>>;

    fn save(group: &Self::Group) -> Result<Secret>;
    fn load(client: &Client, saved: &Secret) -> Result<Self::Group>;

    /// `sender` is who proposes as one of the group's external senders.
    fn observe(
        group_info: &[u8],
        tree: Option<&[u8]>,
        rules: &IdentityRules,
        sender: Option<&Client>,
    ) -> Result<Self::Observer>;
    /// A proposal of an external sender (RFC 9420 section 12.1.8.1).
    fn propose_from_outside(
        observer: &Self::Observer,
        proposal: &Proposal,
        authenticated_data: &[u8],
    ) -> Result<Vec<u8>>;
    /// The epoch a commit leads to, as far as it can be seen from outside.
    fn follow(observer: &Self::Observer, message: &[u8]) -> Result<Self::Observer>;
    fn observed_context(observer: &Self::Observer) -> &GroupContext;
    fn observed_roster(observer: &Self::Observer) -> Vec<Member>;
    fn observed_tree(observer: &Self::Observer) -> Result<Vec<u8>>;

    /// `media_secret` = MLS-Exporter(label, context, 32); key i = HKDF-Expand-SHA256(media_secret, infos[i], 32) (design.md §4).
    fn sender_keys(
        group: &Self::Group,
        label: &[u8],
        context: &[u8],
        infos: &[&[u8]],
    ) -> Result<Vec<Secret>>;
}

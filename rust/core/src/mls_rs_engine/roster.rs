//! mls-rs' view of a group, in the values of `engine`.

use std::collections::BTreeSet;

use mls_rs::group::proposal::Proposal;
use mls_rs::group::{
    CommitEffect, CommitMessageDescription, ExportedTree, GroupContext as EngineContext, Roster,
};
use mls_rs_codec::MlsEncode;
use mls_rs_core::group::Member as EngineMember;
use mls_rs_core::identity::Credential;

use crate::engine::{Changes, Extensions, GroupContext, Member};
use crate::{Error, Result};

pub(super) fn members(roster: &Roster<'_>) -> Vec<Member> {
    roster.members_iter().map(member).collect()
}

fn member(found: EngineMember) -> Member {
    let identity = match found.signing_identity.credential {
        Credential::Basic(basic) => basic.identifier,
        _ => Vec::new(),
    };
    Member {
        leaf: found.index,
        identity,
        signature_key: found.signing_identity.signature_key.to_vec(),
        extensions: extensions(&found.extensions),
    }
}

fn extensions(list: &mls_rs::ExtensionList) -> Extensions {
    list.iter()
        .map(|one| (one.extension_type.raw_value(), one.extension_data.clone()))
        .collect()
}

pub(super) fn context(found: &EngineContext) -> Result<GroupContext> {
    Ok(GroupContext {
        encoded: found
            .mls_encode_to_vec()
            .map_err(|error| Error::local("too_long", error.to_string()))?,
        suite: found.cipher_suite.raw_value(),
        group_id: found.group_id.clone(),
        epoch: found.epoch,
        tree_hash: found.tree_hash.clone(),
        extensions: extensions(&found.extensions),
    })
}

/// What a processed commit did, from the tree before it and the tree after it.
pub(super) fn changes(
    done: &CommitMessageDescription,
    before: &ExportedTree<'_>,
    after: &ExportedTree<'_>,
) -> Result<Changes> {
    let (epoch, removes_us) = match &done.effect {
        CommitEffect::NewEpoch(epoch) => (epoch, false),
        CommitEffect::Removed { new_epoch, .. } => (new_epoch, true),
        CommitEffect::ReInit(_) => {
            return Err(
                Error::remote("unsupported_proposal", "ReInit").section("RFC 9420 section 12.1.5")
            );
        }
    };
    let gone: BTreeSet<u32> = epoch
        .applied_proposals
        .iter()
        .filter_map(|one| match &one.proposal {
            Proposal::Remove(remove) => Some(remove.to_remove()),
            _ => None,
        })
        .collect();
    let mut changes = Changes {
        sender: (!done.is_external).then_some(done.committer),
        external: done.is_external,
        authenticated_data: done.authenticated_data.clone(),
        removes_us,
        ..Changes::default()
    };
    changes.removed = sitting(before, gone.iter().copied());
    if !removes_us {
        let leaves = 0..u32::try_from(after.nodes().len().div_ceil(2)).unwrap_or(u32::MAX);
        let stayed = |leaf: &u32| node(before, *leaf).is_some() && !gone.contains(leaf);
        let (old, new): (Vec<u32>, Vec<u32>) = leaves
            .filter(|leaf| node(after, *leaf).is_some())
            .partition(stayed);
        changes.added = sitting(after, new.into_iter());
        let updated = old
            .into_iter()
            .filter(|leaf| node(before, *leaf) != node(after, *leaf));
        changes.updated = sitting(after, updated);
    }
    Ok(changes)
}

/// Who sits in these leaves. Nobody else is looked at: a copy of all members costs more than the commit's signature.
fn sitting(tree: &ExportedTree<'_>, leaves: impl Iterator<Item = u32>) -> Vec<Member> {
    let roster = tree.roster();
    leaves
        .filter_map(|leaf| roster.member_with_index(leaf).ok())
        .map(member)
        .collect()
}

/// The leaf's node: leaf i is node 2i (RFC 9420 appendix C).
fn node<'a>(tree: &'a ExportedTree<'_>, leaf: u32) -> Option<&'a mls_rs::group::Node> {
    let place = usize::try_from(leaf).ok()?.checked_mul(2)?;
    tree.nodes().get(place)?.as_ref()
}

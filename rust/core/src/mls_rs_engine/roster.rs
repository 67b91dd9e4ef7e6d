//! mls-rs' view of a group, in the values of `engine`.

use std::collections::BTreeSet;

use mls_rs::group::proposal::Proposal;
use mls_rs::group::{
    CommitEffect, CommitMessageDescription, ExportedTree, GroupContext as EngineContext, Roster,
};
use mls_rs::mls_rules::ProposalInfo;
use mls_rs_codec::MlsEncode;
use mls_rs_core::group::Member as EngineMember;

use super::extensions::values;
use super::proposals::{proposed, reinit};
use crate::engine::{Changes, GroupContext, Member};
use crate::proposal::{Proposal as OurProposal, Proposed, Proposer};
use crate::{Credential, Error, Result};

pub(super) fn members(roster: &Roster<'_>) -> Vec<Member> {
    roster.members_iter().map(member).collect()
}

fn member(found: EngineMember) -> Member {
    Member {
        leaf: found.index,
        credential: Credential::of_engine(&found.signing_identity.credential),
        signature_key: found.signing_identity.signature_key.to_vec(),
        extensions: values(&found.extensions),
    }
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
        extensions: values(&found.extensions),
    })
}

/// What a processed commit did, from the tree before it and the tree after it.
pub(super) fn changes(
    done: &CommitMessageDescription,
    before: &ExportedTree<'_>,
    after: &ExportedTree<'_>,
) -> Result<Changes> {
    let mut changes = Changes {
        sender: (!done.is_external).then_some(done.committer),
        external: done.is_external,
        authenticated_data: done.authenticated_data.clone(),
        ..Changes::default()
    };
    match &done.effect {
        CommitEffect::NewEpoch(epoch) => {
            changes.proposals = all(&epoch.applied_proposals)?;
            changes.left_out = all(&epoch.unused_proposals)?;
        }
        CommitEffect::Removed { new_epoch, .. } => {
            changes.proposals = all(&new_epoch.applied_proposals)?;
            changes.left_out = all(&new_epoch.unused_proposals)?;
            changes.removes_us = true;
        }
        // It covers nothing else (RFC 9420 section 12.2).
        CommitEffect::ReInit(info) => {
            changes.proposals = vec![proposed(&info.clone().map(Proposal::ReInit))?];
            changes.reinit = Some(reinit(&info.proposal));
        }
    }
    let gone: BTreeSet<u32> = changes
        .proposals
        .iter()
        .filter_map(|one| match one.proposal {
            OurProposal::Remove(leaf) => Some(leaf),
            _ => None,
        })
        .collect();
    changes.removed = sitting(before, gone.iter().copied());
    if !changes.removes_us {
        let leaves = 0..u32::try_from(after.nodes().len().div_ceil(2)).unwrap_or(u32::MAX);
        let stayed = |leaf: &u32| node(before, *leaf).is_some() && !gone.contains(leaf);
        let (old, new): (Vec<u32>, Vec<u32>) = leaves
            .filter(|leaf| node(after, *leaf).is_some())
            .partition(stayed);
        changes.added = sitting(after, new.into_iter());
        let touched = touched(done.committer, &changes.proposals);
        let updated = old
            .into_iter()
            .filter(|leaf| touched.contains(leaf) && node(before, *leaf) != node(after, *leaf));
        changes.updated = sitting(after, updated);
    }
    Ok(changes)
}

/// Leaves that a commit can replace: its author's by the path, and those of who proposed an update (RFC 9420 section 12.3).
/// In a large group it takes long to compare all.
fn touched(author: u32, proposals: &[Proposed]) -> BTreeSet<u32> {
    let updates = proposals.iter().filter_map(|one| match one {
        Proposed {
            proposal: OurProposal::Update,
            proposer: Proposer::Member(leaf),
            ..
        } => Some(*leaf),
        _ => None,
    });
    updates.chain([author]).collect()
}

/// Who sits in these leaves. Nobody else is looked at: a copy of all members costs more than the commit's signature.
fn sitting(tree: &ExportedTree<'_>, leaves: impl Iterator<Item = u32>) -> Vec<Member> {
    let roster = tree.roster();
    leaves
        .filter_map(|leaf| roster.member_with_index(leaf).ok())
        .map(member)
        .collect()
}

pub(super) fn all(infos: &[ProposalInfo<Proposal>]) -> Result<Vec<Proposed>> {
    infos.iter().map(proposed).collect()
}

/// The leaf's node: leaf i is node 2i (RFC 9420 appendix C).
fn node<'a>(tree: &'a ExportedTree<'_>, leaf: u32) -> Option<&'a mls_rs::group::Node> {
    let place = usize::try_from(leaf).ok()?.checked_mul(2)?;
    tree.nodes().get(place)?.as_ref()
}

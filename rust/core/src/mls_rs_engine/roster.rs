//! mls-rs' view of a group, in the values of `engine`.

use std::collections::BTreeSet;

use mls_rs::group::proposal::Proposal;
use mls_rs::group::{
    CommitEffect, CommitMessageDescription, ExportedTree, GroupContext as EngineContext, Roster,
};
use mls_rs::mls_rules::ProposalInfo;
use mls_rs_codec::MlsEncode;
use mls_rs_core::group::Member as EngineMember;

use super::proposals::{proposed, reinit};
use crate::engine::{Changes, Extensions, GroupContext, Member};
use crate::proposal::{Proposal as OurProposal, Proposed};
use crate::{Credential, Error, Result};

pub(super) fn members(roster: &Roster<'_>) -> Vec<Member> {
    roster.members_iter().map(member).collect()
}

fn member(found: EngineMember) -> Member {
    Member {
        leaf: found.index,
        credential: Credential::of_engine(&found.signing_identity.credential),
        signature_key: found.signing_identity.signature_key.to_vec(),
        extensions: extensions(&found.extensions),
    }
}

pub(super) fn extensions(list: &mls_rs::ExtensionList) -> Extensions {
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
    let old = members(&before.roster());
    let stayed: BTreeSet<u32> = old
        .iter()
        .map(|one| one.leaf)
        .filter(|leaf| !gone.contains(leaf))
        .collect();
    changes.removed = old
        .into_iter()
        .filter(|one| gone.contains(&one.leaf))
        .collect();
    if !changes.removes_us {
        for one in members(&after.roster()) {
            if !stayed.contains(&one.leaf) {
                changes.added.push(one);
            } else if node(before, one.leaf) != node(after, one.leaf) {
                changes.updated.push(one);
            }
        }
    }
    Ok(changes)
}

pub(super) fn all(infos: &[ProposalInfo<Proposal>]) -> Result<Vec<Proposed>> {
    infos.iter().map(proposed).collect()
}

/// The leaf's node: leaf i is node 2i (RFC 9420 appendix C).
fn node<'a>(tree: &'a ExportedTree<'_>, leaf: u32) -> Option<&'a mls_rs::group::Node> {
    let place = usize::try_from(leaf).ok()?.checked_mul(2)?;
    tree.nodes().get(place)?.as_ref()
}

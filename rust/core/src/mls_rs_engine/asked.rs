//! What a caller asks to be proposed, before the engine makes it: whether the group as it stands allows it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use mls_rs::extension::built_in::RequiredCapabilitiesExt;
use mls_rs::group::proposal::{CustomProposal, ProposalType};
use mls_rs::group::Roster;
use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::extension::ExtensionType;
use mls_rs_core::group::Capabilities;

use super::extensions::{list, of_context};
use crate::engine::GroupContext;
use crate::proposal::{Proposal, ReInit, ResumptionPsk};
use crate::provider::suite;
use crate::{Error, Result};

const MLS10: u16 = 1;

/// The proposal as it is made in this group: what it leaves to the group is filled in, and what the group does not allow
/// is refused. Key packages are left to who decodes them.
pub(super) fn allowed<'a>(
    proposal: &'a Proposal,
    roster: &Roster<'_>,
    context: &GroupContext,
) -> Result<Cow<'a, Proposal>> {
    proposal.check()?;
    match proposal {
        Proposal::Remove(leaf) => occupied(roster, *leaf)?,
        Proposal::ResumptionPsk(psk) => of_this_group(psk, context)?,
        Proposal::ContextExtensions(extensions) => of_context(context.suite, extensions)?,
        Proposal::ReInit(next) => can_follow(next, roster)?,
        Proposal::ReInitInSuite {
            group_id,
            extensions,
        } => {
            let next = ReInit {
                group_id: group_id.clone(),
                version: MLS10,
                suite: context.suite,
                extensions: extensions.clone(),
            };
            can_follow(&next, roster)?;
            return Ok(Cow::Owned(Proposal::ReInit(next)));
        }
        Proposal::Custom { number, .. } => understood(roster, *number)?,
        Proposal::Add(_) | Proposal::Update | Proposal::ExternalPsk(_) | Proposal::ExternalInit => {
        }
    }
    Ok(Cow::Borrowed(proposal))
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

/// Nobody could commit a proposal whose type some member does not list.
fn understood(roster: &Roster<'_>, number: u16) -> Result<()> {
    let kind = ProposalType::new(number);
    match roster
        .members_iter()
        .find(|one| !one.capabilities.proposals.contains(&kind))
    {
        None => Ok(()),
        Some(member) => Err(Error::local(
            "bad_proposal",
            format!(
                "the member in leaf {} does not support proposals of type {number}",
                member.index
            ),
        )
        .section("RFC 9420 section 13.2")),
    }
}

/// The PSK of an epoch of another group is known to nobody here.
fn of_this_group(psk: &ResumptionPsk, context: &GroupContext) -> Result<()> {
    match &psk.group_id {
        Some(other) if *other != context.group_id => Err(Error::local(
            "missing_psk",
            "resumption PSKs of other groups are not kept",
        )
        .section("RFC 9420 section 8.4")),
        _ => Ok(()),
    }
}

/// A group that ends for one that nobody can make has ended for good, and the engine does not ask: whether we know the suite,
/// and each member says in its leaf that it knows it, and the extensions too.
pub(super) fn can_follow(next: &ReInit, roster: &Roster<'_>) -> Result<()> {
    suite(next.suite)?;
    of_context(next.suite, &next.extensions)?;
    let new_suite = CipherSuite::new(next.suite);
    let mut wanted: BTreeSet<ExtensionType> = next
        .extensions
        .iter()
        .map(|(number, _)| ExtensionType::new(*number))
        .filter(|kind| !kind.is_default())
        .collect();
    // `of_context` has read them.
    let required = list(&next.extensions)
        .get_as::<RequiredCapabilitiesExt>()
        .ok()
        .flatten()
        .unwrap_or_default();
    wanted.extend(required.extensions);
    let lacks = |found: &Capabilities| {
        !found.cipher_suites.contains(&new_suite)
            || !wanted.iter().all(|kind| found.extensions.contains(kind))
            || !required
                .proposals
                .iter()
                .all(|kind| found.proposals.contains(kind))
            || !required
                .credentials
                .iter()
                .all(|kind| found.credentials.contains(kind))
    };
    match roster.members_iter().find(|one| lacks(&one.capabilities)) {
        None => Ok(()),
        Some(member) => Err(Error::local(
            "bad_capabilities",
            format!(
                "the member in leaf {} does not support what is to follow",
                member.index
            ),
        )
        .section("RFC 9420 section 11")),
    }
}

pub(super) fn custom(number: u16, data: &[u8]) -> CustomProposal {
    CustomProposal::new(ProposalType::new(number), data.to_vec())
}

/// What a member or somebody outside may ask for, where the engine has no word for it.
pub(super) fn cannot_be_proposed(proposal: &Proposal) -> Error {
    Error::local(
        "bad_proposal",
        format!("nobody proposes type {} here", proposal.number()),
    )
    .section("RFC 9420 section 12.2")
}

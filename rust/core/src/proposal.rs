//! Proposals as values (RFC 9420 section 12.1): what somebody asks for, and what a commit does. Knows no engine.

use crate::extensions::Extensions;
use crate::{Error, Result};

/// What a proposal asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Proposal {
    /// A key package, as the MLSMessage its owner published.
    Add(Vec<u8>),
    /// Fresh keys for the leaf of who proposes it.
    Update,
    Remove(u32),
    /// The key that all members know by this identifier.
    ExternalPsk(Vec<u8>),
    /// A secret of an earlier epoch.
    ResumptionPsk(ResumptionPsk),
    ReInit(ReInit),
    /// The same in the suite of the group it is proposed in, which is known only there.
    ReInitInSuite {
        group_id: Vec<u8>,
        extensions: Extensions,
    },
    /// Only in an external commit.
    ExternalInit,
    /// All extensions of the GroupContext, in the place of those there are.
    ContextExtensions(Extensions),
    /// What the application means by it is its own affair.
    Custom {
        number: u16,
        data: Vec<u8>,
    },
}

impl Proposal {
    /// A custom proposal has a type of its own.
    pub fn check(&self) -> Result<()> {
        /// The proposals that the standard defines, and its reserved number (RFC 9420 section 17.4).
        const STANDARD: std::ops::RangeInclusive<u16> = 0..=7;
        match self {
            Self::Custom { number, .. } if STANDARD.contains(number) => Err(Error::local(
                "bad_proposal",
                format!("{number} is a proposal type of the standard"),
            )
            .section("RFC 9420 section 17.4")),
            _ => Ok(()),
        }
    }

    /// The number in the registry (RFC 9420 section 17.4).
    pub fn number(&self) -> u16 {
        match self {
            Self::Add(_) => 1,
            Self::Update => 2,
            Self::Remove(_) => 3,
            Self::ExternalPsk(_) | Self::ResumptionPsk(_) => 4,
            Self::ReInit(_) | Self::ReInitInSuite { .. } => 5,
            Self::ExternalInit => 6,
            Self::ContextExtensions(_) => 7,
            Self::Custom { number, .. } => *number,
        }
    }
}

/// Which resumption PSK (RFC 9420 section 8.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResumptionPsk {
    /// None: the group it is proposed in.
    pub group_id: Option<Vec<u8>>,
    pub epoch: u64,
}

/// The group that is to follow this one (RFC 9420 section 12.1.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReInit {
    pub group_id: Vec<u8>,
    pub version: u16,
    pub suite: u16,
    pub extensions: Extensions,
}

/// Who proposed something (RFC 9420 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proposer {
    Member(u32),
    /// A place in the external senders of the GroupContext.
    External(u32),
    /// Somebody who wants to be added.
    NewMember,
    /// The author of an external commit.
    NewMemberCommit,
}

/// A proposal that stands in a group or in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposed {
    pub proposal: Proposal,
    pub proposer: Proposer,
    /// ProposalRef (RFC 9420 section 5.2); none if the commit carries the proposal itself.
    pub reference: Option<Vec<u8>>,
}

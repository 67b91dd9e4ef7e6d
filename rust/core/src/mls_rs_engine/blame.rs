//! mls-rs' errors, mapped once: to a reason a program can read, the section that demands it, and whose fault it is.

use mls_rs::error::MlsError;
use mls_rs_core::error::AnyError;

use super::config::NotBelieved;
use super::extensions::SENDERS_KEYS;
use crate::reader::inspect_key_package;
use crate::{encoding, Error, Fault};

/// Where the standard says that a group which has ended is not used to send messages any more.
pub(super) const ENDED: &str = "RFC 9420 section 12.4.2";

/// Whose fault a mistake is that either side can make.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing {
    /// Making something of our own only: whatever fails, the caller asked for it.
    Alone(&'static str),
    /// Making something from what the caller asked for and what others published.
    Making(&'static str),
    /// Reading something that came from outside.
    Reading(&'static str),
    /// Loading what was saved here.
    Loading,
}

#[derive(Clone, Copy)]
enum Whose {
    /// Only bytes from outside can be so.
    Theirs,
    /// Only a call can be so, or can bring what is missing.
    Ours,
    /// The caller's when making, the other side's when reading.
    Either,
}

impl Doing {
    pub(super) fn failed(self, error: MlsError) -> Error {
        let (whose, reason) = reason(&error, self.place());
        let (fault, place) = match (self, whose) {
            (Self::Loading, _) => return Error::local("bad_saved_state", error.to_string()),
            (Self::Alone(place), _) => (Fault::Local, place),
            (Self::Making(place), Whose::Ours | Whose::Either) => (Fault::Local, place),
            (Self::Reading(place), Whose::Ours) => (Fault::Local, place),
            (Self::Reading(place), _) => (Fault::Remote, place),
            // What the caller handed on from others, key packages above all, stays the others' fault.
            (Self::Making(place), Whose::Theirs) => (Fault::Remote, place),
        };
        Error {
            fault,
            reason,
            detail: error.to_string(),
            place,
            section: section(&error, place),
        }
    }

    /// The same where these key packages were added by whoever has the signature key `own`. Each may be good by itself: that
    /// one is given twice, or is the caller's own, is the caller's doing.
    pub(super) fn failed_adding(
        self,
        error: MlsError,
        key_packages: &[&[u8]],
        own: &[u8],
    ) -> Error {
        let told = self.failed(error);
        let twice = |place: usize, one: &&[u8]| {
            key_packages
                .iter()
                .skip(place + 1)
                .any(|other| other == one)
        };
        let ours = |one: &&[u8]| {
            inspect_key_package(one).is_ok_and(|facts| facts.leaf.signature_key == own)
        };
        let asked_for = || {
            let mut given = key_packages.iter().enumerate();
            given.any(|(place, one)| twice(place, one) || ours(one))
        };
        if told.reason == "duplicate_leaf" && asked_for() {
            return Error {
                fault: Fault::Local,
                ..told
            };
        }
        told
    }

    const fn place(self) -> &'static str {
        match self {
            Self::Alone(place) | Self::Making(place) | Self::Reading(place) => place,
            Self::Loading => "",
        }
    }
}

fn reason(error: &MlsError, place: &str) -> (Whose, &'static str) {
    use MlsError as E;
    use Whose::{Either, Ours, Theirs};
    match error {
        E::SerializationError(inner) | E::ExtensionError(inner) => (Theirs, unreadable(inner).0),
        E::UnexpectedMessageType => (Theirs, "wrong_message_type"),
        E::UnsupportedProtocolVersion(_) | E::ProtocolVersionMismatch => {
            (Theirs, "unsupported_version")
        }
        E::UnsupportedCipherSuite(_) | E::CipherSuiteMismatch => (Theirs, "wrong_suite"),
        E::GroupIdMismatch => (Theirs, "wrong_group"),
        E::InvalidEpoch | E::EpochNotFound | E::InitialEpochNotOne => (Theirs, "wrong_epoch"),
        E::InvalidSignature => (Theirs, "bad_signature"),
        E::InvalidConfirmationTag => (Theirs, "bad_confirmation_tag"),
        E::InvalidMembershipTag | E::MembershipTagForNonMember => (Theirs, "bad_membership_tag"),
        E::CantProcessMessageFromSelf => (Theirs, "own_message"),
        E::WelcomeKeyPackageNotFound => (Theirs, "no_key_package"),
        E::CommitMissingPath => (Theirs, "missing_path"),
        E::RatchetTreeNotFound => (Ours, "missing_tree"),
        E::MissingExternalPubExtension => (Theirs, "missing_external_pub"),
        E::CryptoProviderError(_) => (Theirs, "crypto_refused"),
        // A message names a leaf, its sender's or another, where nobody sits.
        E::ExpectedNode | E::InvalidNodeIndex(_) if OF_A_MEMBER.contains(&place) => {
            (Either, "unknown_leaf")
        }
        E::TreeHashMismatch
        | E::ParentHashMismatch
        | E::UnmergedLeavesMismatch
        | E::UnexpectedEmptyTree
        | E::UnexpectedTrailingBlanks
        | E::ExpectedNode
        | E::UnexpectedEmptyNode
        | E::InvalidNodeIndex(_)
        | E::InvalidTreeIndex
        | E::LeafNodeNoChildren
        | E::LeafNodeNoParent => (Theirs, "bad_tree"),
        E::WrongPathLen
        | E::SameHpkeKey(_)
        | E::PubKeyMismatch
        | E::UpdateErrorNoSecretKey
        | E::LcaNotFoundInDirectPath
        | E::FailedGeneratingPathSecret => (Theirs, "bad_path"),
        E::InvalidLifetime { .. } | E::TimeOverflow => (Theirs, "bad_lifetime"),
        E::DuplicateLeafData(_) => (Theirs, "duplicate_leaf"),
        E::IdentityProviderError(inner) if is_key(inner) => (Theirs, "bad_key"),
        E::IdentityProviderError(_)
        | E::InUseCredentialTypeUnsupportedByNewLeaf
        | E::CredentialTypeOfNewLeafIsUnsupported => (Theirs, "bad_credential"),
        E::RequiredExtensionNotFound(_)
        | E::RequiredProposalNotFound(_)
        | E::RequiredCredentialNotFound(_)
        | E::ExtensionNotInCapabilities(_)
        | E::UnsupportedGroupExtension(_)
        | E::DefaultValueListed => (Theirs, "bad_capabilities"),
        E::InvalidLeafNodeSource | E::InvalidInitKey | E::InitLeafKeyEquality => {
            (Theirs, "bad_key_package")
        }
        E::InvalidSuccessor
        | E::ExternalCommitRemovesOtherIdentity
        | E::DifferentIdentityInUpdate(_) => (Either, "bad_successor"),
        E::LeafNotFound(_)
        | E::MemberNotFound
        | E::RemovingNonExistingMember
        | E::UpdatingNonExistingMember => (Either, "unknown_leaf"),
        E::MissingRequiredPsk => (Ours, "missing_psk"),
        // No call can give the PSK of an epoch.
        E::OldGroupStateNotFound => (Either, "missing_psk"),
        E::InvalidTypeOrUsageInPreSharedKeyProposal
        | E::InvalidPskNonceLength
        | E::DuplicatePskIds
        | E::UnexpectedPskId
        | E::TooManyPskIds => (Either, "bad_psk"),
        E::ProposalNotFound => (Theirs, "unknown_proposal"),
        E::CommitterSelfRemoval
        | E::InvalidCommitSelfUpdate
        | E::MoreThanOneProposalForLeaf(_)
        | E::MoreThanOneGroupContextExtensionsProposal
        | E::OtherProposalWithReInit
        | E::InvalidProtocolVersionInReInit
        | E::UnsupportedCustomProposal(_)
        | E::MlsRulesError(_)
        | E::SelfRemoveAlreadyProposed => (Either, "bad_proposal"),
        E::InvalidProposalTypeForSender
        | E::InvalidSender
        | E::ExternalSenderCannotCommit
        | E::ExpectedCommitForNewMemberCommit
        | E::ExpectedAddProposalForNewMemberProposal => (Theirs, "bad_sender"),
        E::UnknownSigningIdentityForExternalSender
        | E::ExternalProposalsDisabled
        | E::InvalidExternalSigningIdentity => (Either, "bad_sender"),
        E::ExternalCommitMissingExternalInit
        | E::ExternalCommitMustHaveExactlyOneExternalInit
        | E::ExternalCommitMustHaveNewLeaf
        | E::ExternalCommitWithMoreThanOneRemove
        | E::InvalidProposalTypeInExternalCommit(_)
        | E::OnlyMembersCanCommitProposalsByRef => (Theirs, "bad_external_commit"),
        E::UnencryptedApplicationMessage | E::InvalidLeafConsumption => {
            (Theirs, "bad_private_message")
        }
        E::KeyMissing(_) => (Theirs, "message_key_gone"),
        E::InvalidFutureGeneration(_) => (Theirs, "too_far_ahead"),
        E::InvalidGroupInfo => (Theirs, "bad_group_info"),
        E::InvalidWelcomeMessage | E::ReInitExtensionsMismatch => (Theirs, "bad_welcome"),
        E::NotASubgroup => (Either, "not_a_subgroup"),
        E::InvalidTreeKemPrivateKey => (Either, "bad_private_key"),
        E::GroupUsedAfterReInit => (Either, "group_ended"),
        E::CommitRequired => (Ours, "commit_required"),
        E::PendingReInitNotFound
        | E::SignerNotFound
        | E::ExistingPendingCommit
        | E::PendingCommitNotFound
        | E::GroupNotFound
        | E::NonZeroRetentionRequired
        | E::ExporterDeleted => (Ours, "wrong_state"),
        E::KeyPackageRepoError(_) | E::GroupStorageError(_) | E::PskStoreError(_) => {
            (Ours, "store_failure")
        }
        // The engine's errors are an open set: what is not named above is told as what it is.
        _ => (Either, "engine_refused"),
    }
}

/// Whether it was not the credential that our rules refused but an external sender's key.
fn is_key(inner: &AnyError) -> bool {
    let found = inner.inner_dyn_error().downcast_ref();
    matches!(found, Some(NotBelieved::Key))
}

/// What the codec found, as a reason and a section.
fn unreadable(inner: &AnyError) -> (&'static str, &'static str) {
    inner
        .inner_dyn_error()
        .downcast_ref()
        .map_or(("malformed", "RFC 9420 section 2.1"), encoding::unreadable)
}

/// Places of messages that a member, or somebody who becomes one, sends to the members.
const OF_A_MEMBER: [&str; 3] = ["commit", "proposal", "message"];

/// Where the standard demands what was found wanting. The engine makes one error of checks that are demanded in several
/// places; they are all named then, those of the same message only.
fn section(error: &MlsError, place: &str) -> &'static str {
    use MlsError as E;
    match (error, place) {
        (E::SerializationError(inner) | E::ExtensionError(inner), _) => unreadable(inner).1,
        (E::UnexpectedMessageType, _) => "RFC 9420 section 6",
        (E::ProtocolVersionMismatch, _) => "RFC 9420 sections 10, 10.1",
        (E::UnsupportedProtocolVersion(_) | E::GroupIdMismatch, _) => "RFC 9420 section 6",
        (E::CipherSuiteMismatch | E::UnsupportedCipherSuite(_), "welcome") => {
            "RFC 9420 section 12.4.3.1"
        }
        (E::CipherSuiteMismatch, _) => "RFC 9420 section 10.1",
        (E::UnsupportedCipherSuite(_), _) => "RFC 9420 section 5.1",
        (E::InvalidEpoch | E::EpochNotFound, "commit") => "RFC 9420 section 12.4.2",
        (E::InvalidEpoch | E::EpochNotFound, "proposal") => "RFC 9420 section 12.1",
        (E::InvalidEpoch | E::EpochNotFound, _) => "RFC 9420 section 6",
        (E::InitialEpochNotOne, _) => "RFC 9420 sections 11.2, 11.3",
        (E::InvalidSignature, "commit") => "RFC 9420 sections 6.1, 7.2, 7.3, 10.1, 12.4.3.2",
        (E::InvalidSignature, "key_package") => "RFC 9420 sections 7.3, 10, 10.1",
        (E::InvalidSignature, "proposal") => "RFC 9420 sections 6.1, 6.3.1, 12.1",
        (E::InvalidSignature, "message") => "RFC 9420 sections 6.1, 6.3.1",
        (E::InvalidSignature, _) => "RFC 9420 sections 7.3, 12.4.3",
        (E::InvalidConfirmationTag, "commit") => "RFC 9420 section 6.1",
        (E::InvalidConfirmationTag, _) => "RFC 9420 section 12.4.3.1",
        (E::InvalidMembershipTag | E::MembershipTagForNonMember, _) => "RFC 9420 section 6.2",
        (E::CantProcessMessageFromSelf, "commit") => "RFC 9420 section 12.4.2",
        // The key that would open it is gone since it was sent.
        (E::CantProcessMessageFromSelf, _) => "RFC 9420 section 9.2",
        (E::WelcomeKeyPackageNotFound, _) => "RFC 9420 section 12.4.3.1",
        (E::CommitMissingPath | E::ProposalNotFound | E::CommitRequired, _) => {
            "RFC 9420 section 12.4"
        }
        (E::CryptoProviderError(_), "commit") => "RFC 9420 sections 6.3.1, 7.6, 8.3",
        (E::CryptoProviderError(_), "proposal" | "message") => "RFC 9420 sections 6.3.1, 6.3.2",
        (E::CryptoProviderError(_), "welcome") => "RFC 9420 section 12.4.3.1",
        (E::CryptoProviderError(_), _) => "RFC 9420 section 5.1",
        (
            E::ExpectedNode | E::InvalidNodeIndex(_) | E::LeafNotFound(_) | E::MemberNotFound,
            "message",
        ) => "RFC 9420 sections 6.1, 6.3.2",
        (E::ExpectedNode | E::InvalidNodeIndex(_), place) if OF_A_MEMBER.contains(&place) => {
            "RFC 9420 sections 6.1, 6.3.2, 12.1.3"
        }
        (E::ExpectedNode | E::InvalidNodeIndex(_), _) => "RFC 9420 sections 12.4.3, 12.4.3.3",
        (E::ParentHashMismatch, _) => "RFC 9420 section 7.9.2",
        (E::UnmergedLeavesMismatch, _) => "RFC 9420 section 12.4.3.1",
        (
            E::TreeHashMismatch
            | E::UnexpectedEmptyTree
            | E::UnexpectedTrailingBlanks
            | E::UnexpectedEmptyNode
            | E::InvalidTreeIndex
            | E::LeafNodeNoChildren
            | E::LeafNodeNoParent
            | E::RatchetTreeNotFound,
            _,
        ) => "RFC 9420 section 12.4.3.3",
        (E::PubKeyMismatch, "welcome") => "RFC 9420 section 12.4.3.1",
        (E::PubKeyMismatch | E::FailedGeneratingPathSecret, _) => "RFC 9420 section 7.5",
        (E::SameHpkeKey(_), _) => "RFC 9420 section 12.4.2",
        (E::WrongPathLen | E::UpdateErrorNoSecretKey | E::LcaNotFoundInDirectPath, _) => {
            "RFC 9420 section 7.6"
        }
        (E::IdentityProviderError(inner), _) if is_key(inner) => SENDERS_KEYS,
        (E::IdentityProviderError(_), _) => "RFC 9420 section 5.3.1",
        (E::InvalidSuccessor | E::DifferentIdentityInUpdate(_), _) => "RFC 9420 section 5.3.1",
        (E::DefaultValueListed, _) => "RFC 9420 section 7.2",
        (E::ExtensionNotInCapabilities(_), _) => "RFC 9420 sections 7.2, 7.3",
        (
            E::RequiredExtensionNotFound(_)
            | E::RequiredProposalNotFound(_)
            | E::RequiredCredentialNotFound(_),
            _,
        ) => "RFC 9420 sections 7.3, 11.1, 12.1.7",
        (E::UnsupportedGroupExtension(_), _) => "RFC 9420 section 13.4",
        (
            E::InUseCredentialTypeUnsupportedByNewLeaf
            | E::CredentialTypeOfNewLeafIsUnsupported
            | E::InvalidLifetime { .. }
            | E::TimeOverflow
            | E::DuplicateLeafData(_)
            | E::InvalidLeafNodeSource,
            _,
        ) => "RFC 9420 section 7.3",
        (E::InvalidInitKey | E::InitLeafKeyEquality, _) => "RFC 9420 section 10.1",
        (
            E::LeafNotFound(_)
            | E::MemberNotFound
            | E::RemovingNonExistingMember
            | E::UpdatingNonExistingMember,
            _,
        ) => "RFC 9420 sections 12.1.3, 12.2",
        (E::MissingRequiredPsk, "welcome") => "RFC 9420 section 12.4.3.1",
        (E::MissingRequiredPsk, "commit") => "RFC 9420 section 12.4.2",
        (E::MissingRequiredPsk | E::OldGroupStateNotFound, _) => "RFC 9420 section 8.4",
        (E::InvalidTypeOrUsageInPreSharedKeyProposal | E::InvalidPskNonceLength, _) => {
            "RFC 9420 section 12.1.4"
        }
        (E::UnexpectedPskId | E::TooManyPskIds, _) => "RFC 9420 section 12.4.3.1",
        (E::InvalidProtocolVersionInReInit, _) => "RFC 9420 section 12.1.5",
        (E::UnsupportedCustomProposal(_), _) => "RFC 9420 section 13.2",
        (E::InvalidProposalTypeForSender, _) => "RFC 9420 sections 12.1.8, 12.2",
        (
            E::DuplicatePskIds
            | E::CommitterSelfRemoval
            | E::InvalidCommitSelfUpdate
            | E::MoreThanOneProposalForLeaf(_)
            | E::MoreThanOneGroupContextExtensionsProposal
            | E::OtherProposalWithReInit
            | E::MlsRulesError(_)
            | E::SelfRemoveAlreadyProposed,
            _,
        ) => "RFC 9420 section 12.2",
        (
            E::UnknownSigningIdentityForExternalSender
            | E::ExternalProposalsDisabled
            | E::InvalidExternalSigningIdentity,
            _,
        ) => "RFC 9420 section 12.1.8",
        (
            E::InvalidSender
            | E::ExternalSenderCannotCommit
            | E::ExpectedCommitForNewMemberCommit
            | E::ExpectedAddProposalForNewMemberProposal,
            _,
        ) => "RFC 9420 section 6.1",
        (
            E::ExternalCommitMissingExternalInit
            | E::ExternalCommitMustHaveExactlyOneExternalInit
            | E::ExternalCommitMustHaveNewLeaf
            | E::ExternalCommitWithMoreThanOneRemove
            | E::ExternalCommitRemovesOtherIdentity
            | E::InvalidProposalTypeInExternalCommit(_)
            | E::OnlyMembersCanCommitProposalsByRef
            | E::MissingExternalPubExtension,
            _,
        ) => "RFC 9420 section 12.4.3.2",
        (E::UnencryptedApplicationMessage, _) => "RFC 9420 section 6",
        (E::InvalidLeafConsumption, _) => "RFC 9420 section 6.3.2",
        (E::KeyMissing(_), _) => "RFC 9420 section 9.1",
        (E::InvalidFutureGeneration(_), _) => "RFC 9420 section 15.3",
        (E::InvalidGroupInfo, _) => "RFC 9420 section 12.4.3",
        (E::InvalidWelcomeMessage, _) => "RFC 9420 section 12.4.3.1",
        (E::NotASubgroup, _) => "RFC 9420 section 11.3",
        (E::ReInitExtensionsMismatch, _) => "RFC 9420 section 11.2",
        (E::GroupUsedAfterReInit, _) => ENDED,
        (E::InvalidTreeKemPrivateKey, _) => "RFC 9420 section 7.4",
        _ => "",
    }
}

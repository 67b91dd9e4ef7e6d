//! mls-rs' errors, mapped once: to a reason a program can read, the section that demands it, and whose fault it is.

use mls_rs::error::MlsError;

use crate::{Error, Fault};

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
    /// Only a call can be so.
    Ours,
    /// The caller's when making, the other side's when reading.
    Either,
}

impl Doing {
    pub(super) fn failed(self, error: MlsError) -> Error {
        let (whose, reason, section) = reason(&error);
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
            section,
        }
    }
}

fn reason(error: &MlsError) -> (Whose, &'static str, &'static str) {
    use MlsError as E;
    use Whose::{Either, Ours, Theirs};
    match error {
        E::SerializationError(_) | E::ExtensionError(_) => {
            (Theirs, "malformed", "RFC 9420 section 2.1")
        }
        E::UnexpectedMessageType => (Theirs, "wrong_message_type", "RFC 9420 section 6"),
        E::UnsupportedProtocolVersion(_) | E::ProtocolVersionMismatch => {
            (Theirs, "unsupported_version", "RFC 9420 section 6")
        }
        E::UnsupportedCipherSuite(_) | E::CipherSuiteMismatch => {
            (Theirs, "wrong_suite", "RFC 9420 section 5.1")
        }
        E::GroupIdMismatch => (Theirs, "wrong_group", "RFC 9420 section 6"),
        E::InvalidEpoch | E::EpochNotFound | E::InitialEpochNotOne => {
            (Theirs, "wrong_epoch", "RFC 9420 section 6")
        }
        E::InvalidSignature => (Theirs, "bad_signature", "RFC 9420 section 6.1"),
        E::InvalidConfirmationTag => (Theirs, "bad_confirmation_tag", "RFC 9420 section 8.1"),
        E::InvalidMembershipTag | E::MembershipTagForNonMember => {
            (Theirs, "bad_membership_tag", "RFC 9420 section 6.2")
        }
        E::CantProcessMessageFromSelf => (Theirs, "own_message", "RFC 9420 section 12.4.2"),
        E::WelcomeKeyPackageNotFound => (Theirs, "no_key_package", "RFC 9420 section 12.4.3.1"),
        E::CommitMissingPath => (Theirs, "missing_path", "RFC 9420 section 12.4"),
        E::RatchetTreeNotFound => (Theirs, "missing_tree", "RFC 9420 section 12.4.3.3"),
        E::MissingExternalPubExtension => {
            (Theirs, "missing_external_pub", "RFC 9420 section 12.4.3.2")
        }
        E::CryptoProviderError(_) => (Theirs, "crypto_refused", "RFC 9420 section 5.1"),
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
        | E::LeafNodeNoParent => (Theirs, "bad_tree", "RFC 9420 section 12.4.3.3"),
        E::WrongPathLen
        | E::SameHpkeKey(_)
        | E::PubKeyMismatch
        | E::UpdateErrorNoSecretKey
        | E::LcaNotFoundInDirectPath
        | E::FailedGeneratingPathSecret => (Theirs, "bad_path", "RFC 9420 section 7.5"),
        E::InvalidLifetime { .. } | E::TimeOverflow => {
            (Theirs, "bad_lifetime", "RFC 9420 section 7.3")
        }
        E::DuplicateLeafData(_) => (Theirs, "duplicate_leaf", "RFC 9420 section 7.3"),
        E::IdentityProviderError(_)
        | E::InUseCredentialTypeUnsupportedByNewLeaf
        | E::CredentialTypeOfNewLeafIsUnsupported => {
            (Theirs, "bad_credential", "RFC 9420 section 5.3")
        }
        E::RequiredExtensionNotFound(_)
        | E::RequiredProposalNotFound(_)
        | E::RequiredCredentialNotFound(_)
        | E::ExtensionNotInCapabilities(_)
        | E::UnsupportedGroupExtension(_)
        | E::DefaultValueListed => (Theirs, "bad_capabilities", "RFC 9420 section 7.2"),
        E::InvalidLeafNodeSource | E::InvalidInitKey | E::InitLeafKeyEquality => {
            (Theirs, "bad_key_package", "RFC 9420 section 10.1")
        }
        E::InvalidSuccessor
        | E::ExternalCommitRemovesOtherIdentity
        | E::DifferentIdentityInUpdate(_) => (Either, "bad_successor", "RFC 9420 section 12.4.3.2"),
        E::LeafNotFound(_)
        | E::MemberNotFound
        | E::RemovingNonExistingMember
        | E::UpdatingNonExistingMember => (Either, "unknown_leaf", "RFC 9420 section 12.1.3"),
        E::MissingRequiredPsk | E::OldGroupStateNotFound => {
            (Either, "missing_psk", "RFC 9420 section 8.4")
        }
        E::InvalidTypeOrUsageInPreSharedKeyProposal
        | E::InvalidPskNonceLength
        | E::DuplicatePskIds
        | E::UnexpectedPskId
        | E::TooManyPskIds => (Either, "bad_psk", "RFC 9420 section 8.4"),
        E::ProposalNotFound => (Theirs, "unknown_proposal", "RFC 9420 section 12.4"),
        E::CommitterSelfRemoval
        | E::InvalidCommitSelfUpdate
        | E::MoreThanOneProposalForLeaf(_)
        | E::MoreThanOneGroupContextExtensionsProposal
        | E::OtherProposalWithReInit
        | E::InvalidProtocolVersionInReInit
        | E::UnsupportedCustomProposal(_)
        | E::MlsRulesError(_)
        | E::SelfRemoveAlreadyProposed => (Either, "bad_proposal", "RFC 9420 section 12.2"),
        E::InvalidProposalTypeForSender
        | E::InvalidSender
        | E::ExternalSenderCannotCommit
        | E::UnknownSigningIdentityForExternalSender
        | E::ExternalProposalsDisabled
        | E::InvalidExternalSigningIdentity
        | E::ExpectedCommitForNewMemberCommit
        | E::ExpectedAddProposalForNewMemberProposal => {
            (Theirs, "bad_sender", "RFC 9420 section 6.1")
        }
        E::ExternalCommitMissingExternalInit
        | E::ExternalCommitMustHaveExactlyOneExternalInit
        | E::ExternalCommitMustHaveNewLeaf
        | E::ExternalCommitWithMoreThanOneRemove
        | E::InvalidProposalTypeInExternalCommit(_)
        | E::OnlyMembersCanCommitProposalsByRef => {
            (Theirs, "bad_external_commit", "RFC 9420 section 12.4.3.2")
        }
        E::UnencryptedApplicationMessage | E::InvalidLeafConsumption => {
            (Theirs, "bad_private_message", "RFC 9420 section 6.3")
        }
        E::KeyMissing(_) => (Theirs, "message_key_gone", "RFC 9420 section 9.1"),
        E::InvalidFutureGeneration(_) => (Theirs, "too_far_ahead", "RFC 9420 section 9.1"),
        E::InvalidGroupInfo => (Theirs, "bad_group_info", "RFC 9420 section 12.4.3"),
        E::InvalidWelcomeMessage => (Theirs, "bad_welcome", "RFC 9420 section 12.4.3.1"),
        E::NotASubgroup => (Either, "not_a_subgroup", "RFC 9420 section 11.3"),
        E::ReInitExtensionsMismatch => (Theirs, "bad_welcome", "RFC 9420 section 11.2"),
        E::InvalidTreeKemPrivateKey => (Either, "bad_private_key", "RFC 9420 section 7.4"),
        E::GroupUsedAfterReInit => (Ours, "group_ended", "RFC 9420 section 11.2"),
        E::CommitRequired => (Ours, "commit_required", "RFC 9420 section 12.4"),
        E::PendingReInitNotFound
        | E::SignerNotFound
        | E::ExistingPendingCommit
        | E::PendingCommitNotFound
        | E::GroupNotFound
        | E::NonZeroRetentionRequired
        | E::ExporterDeleted => (Ours, "wrong_state", ""),
        E::KeyPackageRepoError(_) | E::GroupStorageError(_) | E::PskStoreError(_) => {
            (Ours, "store_failure", "")
        }
        // The engine's errors are an open set: a new one is told as what it is, and a test counts them.
        _ => (Either, "engine_refused", ""),
    }
}

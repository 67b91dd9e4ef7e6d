//! Proposals between our values and the engine's.

use mls_rs::group::proposal::{AddProposal, PreSharedKeyProposal, Proposal as EngineProposal};
use mls_rs::group::{ProposalMessageDescription, ProposalSender, Sender};
use mls_rs::mls_rules::ProposalInfo;
use mls_rs::WireFormat;
use mls_rs_codec::{byte_vec, MlsDecode, MlsEncode};

use super::extensions::values;
use crate::encoding::{message, put};
use crate::key_package::HEADER;
use crate::proposal::{Proposal, Proposed, Proposer, ReInit, ResumptionPsk};
use crate::{Client, Error, KeyPackage, Result};

/// What carries a proposal or a commit (RFC 9420 section 6).
pub(super) const OF_A_GROUP: [WireFormat; 2] =
    [WireFormat::PublicMessage, WireFormat::PrivateMessage];

/// What others may propose. The engine remembers what it would not commit, and panics over an Update by somebody outside
/// when it makes its own commit.
pub(super) fn may_be_sent(received: &ProposalMessageDescription) -> Result<()> {
    let section = match (&received.sender, &received.proposal) {
        (_, EngineProposal::ExternalInit(_)) => "RFC 9420 sections 12.1.6, 12.1.8",
        (ProposalSender::External(_), EngineProposal::Update(_)) => "RFC 9420 section 12.1.8",
        _ => return Ok(()),
    };
    Err(
        Error::remote("bad_sender", "its sender may not propose this")
            .at("proposal")
            .section(section),
    )
}

pub(super) fn proposed(info: &ProposalInfo<EngineProposal>) -> Result<Proposed> {
    Ok(Proposed {
        proposal: proposal(&info.proposal)?,
        proposer: proposer(&info.sender)?,
        reference: info
            .proposal_ref()
            .map(|reference| reference.as_slice().to_vec()),
    })
}

pub(super) fn proposer(sender: &Sender) -> Result<Proposer> {
    Ok(match sender {
        Sender::Member(leaf) => Proposer::Member(*leaf),
        Sender::External(place) => Proposer::External(*place),
        Sender::NewMemberProposal => Proposer::NewMember,
        Sender::NewMemberCommit => Proposer::NewMemberCommit,
        _ => return Err(Error::remote("bad_sender", "an unknown kind")),
    })
}

pub(super) fn proposal(found: &EngineProposal) -> Result<Proposal> {
    Ok(match found {
        EngineProposal::Add(add) => Proposal::Add(key_package(add)?),
        EngineProposal::Update(_) => Proposal::Update,
        EngineProposal::Remove(remove) => Proposal::Remove(remove.to_remove()),
        EngineProposal::Psk(psk) => pre_shared_key(psk)?,
        EngineProposal::ReInit(reinit) => Proposal::ReInit(self::reinit(reinit)),
        EngineProposal::ExternalInit(_) => Proposal::ExternalInit,
        EngineProposal::GroupContextExtensions(list) => Proposal::ContextExtensions(values(list)),
        EngineProposal::Custom(custom) => Proposal::Custom {
            number: custom.proposal_type().raw_value(),
            data: custom.data().to_vec(),
        },
        _ => return Err(Error::remote("unsupported_proposal", "an unknown kind")),
    })
}

pub(super) fn reinit(found: &mls_rs::group::proposal::ReInitProposal) -> ReInit {
    ReInit {
        group_id: found.group_id().to_vec(),
        version: found.new_version().raw_value(),
        suite: found.new_cipher_suite().raw_value(),
        extensions: values(found.new_group_context_extensions()),
    }
}

/// The KeyPackage as an MLSMessage, as the engine encodes it. Its signature was checked over the same encoding.
pub(super) fn key_package(add: &AddProposal) -> Result<Vec<u8>> {
    let mut bytes = HEADER.to_vec();
    add.key_package()
        .mls_encode(&mut bytes)
        .map_err(|error| Error::remote("malformed", error.to_string()))?;
    Ok(bytes)
}

/// PreSharedKeyID (RFC 9420 section 8.4), which the engine shows in part only.
fn pre_shared_key(found: &PreSharedKeyProposal) -> Result<Proposal> {
    if let Some(id) = found.external_psk_id() {
        return Ok(Proposal::ExternalPsk(id.to_vec()));
    }
    let strange = |error: mls_rs_codec::Error| Error::local("engine_refused", error.to_string());
    let encoded = found.mls_encode_to_vec().map_err(strange)?;
    let mut rest = encoded.as_slice();
    let _psk_type_and_usage = <[u8; 2]>::mls_decode(&mut rest).map_err(strange)?;
    Ok(Proposal::ResumptionPsk(ResumptionPsk {
        group_id: Some(byte_vec::mls_decode(&mut rest).map_err(strange)?),
        epoch: u64::mls_decode(&mut rest).map_err(strange)?,
    }))
}

/// A PublicMessage of `new_member_proposal` with an Add (RFC 9420 sections 6.1, 6.2 and 12.1.8.2). It signs the group and
/// the epoch and nothing else of it. The engine makes such a message only around a key package with a clock in it.
pub(super) fn join(
    client: &Client,
    group_info: &[u8],
    key_package: &KeyPackage,
    authenticated_data: &[u8],
) -> Result<Vec<u8>> {
    const PUBLIC_MESSAGE: [u8; 4] = [0, 1, 0, 1];
    const NEW_MEMBER_PROPOSAL: u8 = 3;
    const PROPOSAL: u8 = 2;
    const ADD: [u8; 2] = [0, 1];
    let info = message(group_info, "group_info", &[WireFormat::GroupInfo])?;
    let context = info
        .as_group_info()
        .ok_or_else(|| Error::remote("wrong_message_type", "no GroupInfo").at("group_info"))?
        .group_context();
    if key_package.suite() != context.cipher_suite().raw_value() {
        return Err(
            Error::remote("wrong_suite", "the group has another cipher suite")
                .at("group_info")
                .section("RFC 9420 section 10.1"),
        );
    }
    if key_package.signature_key() != client.signing_key.public() {
        return Err(Error::local(
            "wrong_client",
            "the key package belongs to another signature key",
        ));
    }
    let mut signed = PUBLIC_MESSAGE.to_vec();
    put(context.group_id(), &mut signed)?;
    signed.extend_from_slice(&context.epoch().to_be_bytes());
    signed.push(NEW_MEMBER_PROPOSAL);
    put(authenticated_data, &mut signed)?;
    signed.push(PROPOSAL);
    signed.extend_from_slice(&ADD);
    signed.extend_from_slice(key_package.bare());
    let mut content = Vec::new();
    put(b"MLS 1.0 FramedContentTBS", &mut content)?;
    put(&signed, &mut content)?;
    let signature = client.signing_key.sign(&content)?;
    // What was signed is the message up to its signature: version and wire format stand in front of both.
    put(&signature, &mut signed)?;
    Ok(signed)
}

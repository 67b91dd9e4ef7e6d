//! PublicMessage with a Commit (RFC 9420 sections 6 and 12.4): what it changes, who signed it, and what follows from
//! it for the transcript.

use super::crypto;
use super::cursor::Cursor;
use super::group_info::GroupContextFacts;
use super::key_package::{read_head, wire_format, KeyPackageFacts};
use super::leaf::{read_extensions, LeafFacts};
use super::refused::{Reason, Refused, Within};

/// Who may send a commit (section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A member, by its leaf index.
    Member(u32),
    /// A joiner that brings its own leaf: an external commit.
    NewMember,
}

/// The UpdatePath of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFacts {
    pub leaf: LeafFacts,
    /// The new keys of the nodes above the leaf.
    pub keys: Vec<Vec<u8>>,
}

/// A commit as read. Nothing is verified until [`CommitFacts::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFacts {
    pub group_id: Vec<u8>,
    /// The epoch it was made in; it leads to the next.
    pub epoch: u64,
    pub sender: Sender,
    pub authenticated_data: Vec<u8>,
    /// In the order of the commit, which is the order in which leaves are filled (section 12.4.2).
    pub adds: Vec<KeyPackageFacts>,
    pub removes: Vec<u32>,
    pub external_inits: u32,
    /// Types of all other proposals; a proposal by reference counts as type 0.
    pub other_proposals: Vec<u16>,
    pub path: Option<PathFacts>,
    pub confirmation_tag: Vec<u8>,
    /// ProtocolVersion, WireFormat and FramedContent.
    framed: Vec<u8>,
    signature: Vec<u8>,
    /// WireFormat, FramedContent and signature: ConfirmedTranscriptHashInput (section 8.2).
    transcript_input: Vec<u8>,
}

enum Proposal {
    Add(Box<KeyPackageFacts>),
    Remove(u32),
    ExternalInit,
    Other(u16),
}

impl CommitFacts {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Refused> {
        let start = *cursor;
        read_head(cursor, wire_format::PUBLIC_MESSAGE)?;
        let group_id = cursor.opaque("group_id")?.to_vec();
        let epoch = cursor.u64("epoch")?;
        let sender = match cursor.u8("sender_type")? {
            1 => Sender::Member(cursor.u32("leaf_index")?),
            4 => Sender::NewMember,
            // An external sender and a new member that only proposes may not commit (section 12.4.2).
            2 | 3 => return Err(Refused::new(Reason::WrongSender, "sender_type")),
            _ => return Err(Refused::new(Reason::UnknownValue, "sender_type")),
        };
        let authenticated_data = cursor.opaque("authenticated_data")?.to_vec();
        match cursor.u8("content_type")? {
            3 => {}
            1 | 2 => return Err(Refused::new(Reason::NotACommit, "content_type")),
            _ => return Err(Refused::new(Reason::UnknownValue, "content_type")),
        }

        let mut adds = Vec::new();
        let mut removes = Vec::new();
        let mut external_inits = 0_u32;
        let mut other_proposals = Vec::new();
        cursor.skip_vector("proposals", |inside| {
            match read_proposal_or_reference(inside)? {
                Proposal::Add(key_package) => adds.push(*key_package),
                Proposal::Remove(index) => removes.push(index),
                Proposal::ExternalInit => external_inits = external_inits.saturating_add(1),
                Proposal::Other(kind) => other_proposals.push(kind),
            }
            Ok(())
        })?;
        let path = if cursor.present("path")? {
            Some(read_path(cursor).within("path")?)
        } else {
            None
        };
        let framed = cursor.since(start).to_vec();
        let signature = cursor.opaque("signature")?.to_vec();
        let transcript_input = cursor.since(start).get(2..).unwrap_or_default().to_vec();
        let confirmation_tag = cursor.opaque("confirmation_tag")?.to_vec();
        if matches!(sender, Sender::Member(_)) {
            cursor.opaque("membership_tag")?;
        }
        Ok(Self {
            group_id,
            epoch,
            sender,
            authenticated_data,
            adds,
            removes,
            external_inits,
            other_proposals,
            path,
            confirmation_tag,
            framed,
            signature,
            transcript_input,
        })
    }

    /// Checks the signature over the commit and `context`, the TLS-encoded GroupContext of the epoch it was made in
    /// (section 6.1, FramedContentTBS), and the keys of the path's nodes. The suite is the context's.
    ///
    /// # Errors
    /// [`Reason::BadSignature`], [`Reason::BadKey`], [`Reason::UnsupportedSuite`], or why `context` cannot be read.
    pub fn verify(&self, context: &[u8], signature_key: &[u8]) -> Result<(), Refused> {
        let suite = GroupContextFacts::of(context)?.suite;
        let mut content = self.framed.clone();
        content.extend_from_slice(context);
        crypto::verify(
            suite,
            signature_key,
            "FramedContentTBS",
            &content,
            &self.signature,
            "commit.signature",
        )?;
        let mut keys = self.path.iter().flat_map(|path| &path.keys);
        keys.try_for_each(|key| crypto::encryption_key(suite, key, "commit.path.nodes"))
    }

    /// The confirmed and the interim transcript hash after this commit (section 8.2), from the interim hash before.
    ///
    /// # Errors
    /// [`Reason::UnsupportedSuite`].
    pub fn transcript(&self, suite: u16, interim: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        let mut input = interim.to_vec();
        input.extend_from_slice(&self.transcript_input);
        let confirmed = crypto::hash(suite, &input)?;
        let next = crypto::interim_transcript_hash(suite, &confirmed, &self.confirmation_tag)?;
        Ok((confirmed, next))
    }
}

fn read_proposal_or_reference(cursor: &mut Cursor<'_>) -> Result<Proposal, Refused> {
    match cursor.u8("type")? {
        1 => read_proposal(cursor),
        2 => {
            cursor.opaque("reference")?;
            Ok(Proposal::Other(0))
        }
        _ => Err(Refused::new(Reason::UnknownValue, "type")),
    }
}

/// Proposal (section 12.1).
fn read_proposal(cursor: &mut Cursor<'_>) -> Result<Proposal, Refused> {
    let kind = cursor.u16("proposal_type")?;
    match kind {
        1 => {
            let key_package = KeyPackageFacts::read(cursor).within("add")?;
            return Ok(Proposal::Add(Box::new(key_package)));
        }
        2 => {
            LeafFacts::read(cursor).within("update")?;
        }
        3 => return Ok(Proposal::Remove(cursor.u32("remove")?)),
        4 => read_psk_id(cursor).within("psk")?,
        5 => {
            cursor.opaque("reinit.group_id")?;
            cursor.u16("reinit.version")?;
            cursor.u16("reinit.cipher_suite")?;
            read_extensions(cursor, "reinit.extensions")?;
        }
        6 => {
            cursor.opaque("external_init")?;
            return Ok(Proposal::ExternalInit);
        }
        7 => {
            read_extensions(cursor, "group_context_extensions")?;
        }
        // RFC 9420 leaves the form of other proposals open; mls-rs and OpenMLS frame them as one opaque.
        _ => {
            cursor.opaque("custom")?;
        }
    }
    Ok(Proposal::Other(kind))
}

/// PreSharedKeyID (section 8.4).
fn read_psk_id(cursor: &mut Cursor<'_>) -> Result<(), Refused> {
    match cursor.u8("psktype")? {
        1 => {
            cursor.opaque("psk_id")?;
        }
        2 => {
            if !(1..=3).contains(&cursor.u8("usage")?) {
                return Err(Refused::new(Reason::UnknownValue, "usage"));
            }
            cursor.opaque("psk_group_id")?;
            cursor.u64("psk_epoch")?;
        }
        _ => return Err(Refused::new(Reason::UnknownValue, "psktype")),
    }
    cursor.opaque("psk_nonce")?;
    Ok(())
}

/// UpdatePath (section 7.6). A leaf's index has 32 bits, so no path is longer than that.
fn read_path(cursor: &mut Cursor<'_>) -> Result<PathFacts, Refused> {
    const PATH_LIMIT: u32 = 32;
    let leaf = LeafFacts::read(cursor).within("leaf_node")?;
    let mut length = 0_u32;
    let keys = cursor.vector("nodes", |node| {
        length = length.saturating_add(1);
        if length > PATH_LIMIT {
            return Err(Refused::new(Reason::Oversized, ""));
        }
        let key = node.opaque("encryption_key")?.to_vec();
        node.skip_vector("encrypted_path_secret", |ciphertext| {
            ciphertext.opaque("kem_output")?;
            ciphertext.opaque("ciphertext")?;
            Ok(())
        })?;
        Ok(key)
    })?;
    Ok(PathFacts { leaf, keys })
}

/// Reads an MLSMessage that carries a commit as PublicMessage. Only its form is checked.
///
/// # Errors
/// Any reason that concerns form; see [`Reason`].
pub fn inspect_commit(message: &[u8]) -> Result<CommitFacts, Refused> {
    Cursor::read_all(message, "commit", CommitFacts::read)
}

//! GroupContext and GroupInfo (RFC 9420 sections 8.1 and 12.4.3).

use super::crypto;
use super::cursor::Cursor;
use super::key_package::{read_head, wire_format, MLS10};
use super::leaf::{read_extensions, Extension};
use super::refused::{Reason, Refused, Within};

const RATCHET_TREE: u16 = 2;
const EXTERNAL_PUB: u16 = 4;

/// A GroupContext as read, with its bytes as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupContextFacts {
    pub suite: u16,
    pub group_id: Vec<u8>,
    pub epoch: u64,
    pub tree_hash: Vec<u8>,
    pub confirmed_transcript_hash: Vec<u8>,
    /// The list as received, with its length.
    pub extensions: Vec<u8>,
    pub bytes: Vec<u8>,
}

impl GroupContextFacts {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Refused> {
        let start = *cursor;
        if cursor.u16("version")? != MLS10 {
            return Err(Refused::new(Reason::UnknownVersion, "version"));
        }
        let suite = cursor.u16("cipher_suite")?;
        let group_id = cursor.opaque("group_id")?.to_vec();
        let epoch = cursor.u64("epoch")?;
        let tree_hash = cursor.opaque("tree_hash")?.to_vec();
        let confirmed_transcript_hash = cursor.opaque("confirmed_transcript_hash")?.to_vec();
        let before = *cursor;
        read_extensions(cursor, "extensions")?;
        Ok(Self {
            suite,
            group_id,
            epoch,
            tree_hash,
            confirmed_transcript_hash,
            extensions: cursor.since(before).to_vec(),
            bytes: cursor.since(start).to_vec(),
        })
    }

    /// Reads a GroupContext that stands alone.
    ///
    /// # Errors
    /// Any reason that concerns form; see [`Reason`].
    pub fn of(bytes: &[u8]) -> Result<Self, Refused> {
        Cursor::read_all(bytes, "group_context", Self::read)
    }
}

/// A GroupInfo as read. Nothing is verified until [`GroupInfoFacts::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfoFacts {
    pub context: GroupContextFacts,
    pub extensions: Vec<Extension>,
    pub confirmation_tag: Vec<u8>,
    pub signer: u32,
    /// For external commits (section 11.2.1).
    pub external_pub: Option<Vec<u8>>,
    /// The ratchet_tree extension's body, if the tree travels inside; `inspect_tree` reads it.
    pub tree: Option<Vec<u8>>,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl GroupInfoFacts {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Refused> {
        read_head(cursor, wire_format::GROUP_INFO)?;
        let start = *cursor;
        let context = GroupContextFacts::read(cursor).within("group_context")?;
        let extensions = read_extensions(cursor, "extensions")?;
        let confirmation_tag = cursor.opaque("confirmation_tag")?.to_vec();
        let signer = cursor.u32("signer")?;
        let signed = cursor.since(start).to_vec();
        let signature = cursor.opaque("signature")?.to_vec();
        let body = |wanted| {
            extensions
                .iter()
                .find(|extension| extension.extension_type == wanted)
                .map(|extension| extension.body.as_slice())
        };
        let external_pub = body(EXTERNAL_PUB)
            .map(|bytes| {
                Cursor::read_all(bytes, "external_pub", |inside| {
                    inside.opaque("").map(<[u8]>::to_vec)
                })
            })
            .transpose()?;
        let tree = body(RATCHET_TREE).map(<[u8]>::to_vec);
        Ok(Self {
            context,
            extensions,
            confirmation_tag,
            signer,
            external_pub,
            tree,
            signed,
            signature,
        })
    }

    /// Checks the signature by the signer's leaf key (GroupInfoTBS). The suite is the context's.
    ///
    /// # Errors
    /// [`Reason::BadSignature`], [`Reason::UnsupportedSuite`].
    pub fn verify(&self, signature_key: &[u8]) -> Result<(), Refused> {
        crypto::verify(
            self.context.suite,
            signature_key,
            "GroupInfoTBS",
            &self.signed,
            &self.signature,
            "group_info.signature",
        )
    }
}

/// Reads an MLSMessage that carries a GroupInfo. Only its form is checked.
///
/// # Errors
/// Any reason that concerns form; see [`Reason`].
pub fn inspect_group_info(message: &[u8]) -> Result<GroupInfoFacts, Refused> {
    Cursor::read_all(message, "group_info", GroupInfoFacts::read)
}

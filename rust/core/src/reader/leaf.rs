//! LeafNode (RFC 9420 section 7.2): whose it is, its keys and its extensions, and the check of its signature.

use super::cursor::{write_opaque, Cursor};
use super::refused::{Reason, Refused, Within};
use super::{crypto, EXTENSION_LIMIT};

/// One extension, its body as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub extension_type: u16,
    pub body: Vec<u8>,
}

/// Who a leaf says it is (section 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Basic(Vec<u8>),
    /// Any other kind, by its registered number.
    Other(u16),
}

/// How a leaf came into the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafSource {
    /// With the lifetime, seconds since the epoch.
    KeyPackage {
        not_before: u64,
        not_after: u64,
    },
    Update,
    Commit,
}

impl LeafSource {
    /// The name in the standard.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyPackage { .. } => "key_package",
            Self::Update => "update",
            Self::Commit => "commit",
        }
    }
}

/// A LeafNode as read. Nothing is verified until [`LeafFacts::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFacts {
    pub encryption_key: Vec<u8>,
    pub signature_key: Vec<u8>,
    pub credential: Credential,
    pub source: LeafSource,
    pub extensions: Vec<Extension>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    whole: Vec<u8>,
}

impl LeafFacts {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Refused> {
        let start = *cursor;
        let encryption_key = cursor.opaque("encryption_key")?.to_vec();
        let signature_key = cursor.opaque("signature_key")?.to_vec();
        let credential = read_credential(cursor).within("credential")?;
        skip_capabilities(cursor).within("capabilities")?;
        let source = match cursor.u8("leaf_node_source")? {
            1 => LeafSource::KeyPackage {
                not_before: cursor.u64("lifetime")?,
                not_after: cursor.u64("lifetime")?,
            },
            2 => LeafSource::Update,
            3 => {
                cursor.opaque("parent_hash")?;
                LeafSource::Commit
            }
            _ => return Err(Refused::new(Reason::UnknownValue, "leaf_node_source")),
        };
        let extensions = read_extensions(cursor, "extensions")?;
        let signed = cursor.since(start).to_vec();
        let signature = cursor.opaque("signature")?.to_vec();
        Ok(Self {
            encryption_key,
            signature_key,
            credential,
            source,
            extensions,
            signed,
            signature,
            whole: cursor.since(start).to_vec(),
        })
    }

    /// Checks the leaf's own signature (section 7.2, LeafNodeTBS) and its encryption key. `place` is the group_id and
    /// the leaf's index, which a leaf of an update or a commit signs too; a leaf of a KeyPackage signs neither.
    ///
    /// # Errors
    /// [`Reason::WrongLeafSource`] if the place is missing or needless, [`Reason::BadSignature`], [`Reason::BadKey`],
    /// [`Reason::UnsupportedSuite`].
    pub fn verify(&self, suite: u16, place: Option<(&[u8], u32)>) -> Result<(), Refused> {
        let mut content = self.signed.clone();
        match (self.source, place) {
            (LeafSource::KeyPackage { .. }, None) => {}
            (LeafSource::Update | LeafSource::Commit, Some((group_id, index))) => {
                write_opaque(&mut content, group_id).within("leaf_node")?;
                content.extend_from_slice(&index.to_be_bytes());
            }
            _ => return Err(Refused::new(Reason::WrongLeafSource, "leaf_node")),
        }
        crypto::verify(
            suite,
            &self.signature_key,
            "LeafNodeTBS",
            &content,
            &self.signature,
            "leaf_node",
        )?;
        crypto::encryption_key(suite, &self.encryption_key, "leaf_node.encryption_key")
    }

    /// The tree hash (section 7.8) of a tree that holds this leaf at `index` and whose root is that leaf.
    ///
    /// # Errors
    /// [`Reason::UnsupportedSuite`].
    pub fn tree_hash(&self, suite: u16, index: u32) -> Result<Vec<u8>, Refused> {
        let mut input = vec![1]; // NodeType leaf
        input.extend_from_slice(&index.to_be_bytes());
        input.push(1); // optional<LeafNode>: present
        input.extend_from_slice(&self.whole);
        crypto::hash(suite, &input)
    }
}

fn read_credential(cursor: &mut Cursor<'_>) -> Result<Credential, Refused> {
    match cursor.u16("credential_type")? {
        1 => Ok(Credential::Basic(cursor.opaque("identity")?.to_vec())),
        2 => {
            cursor.skip_vector("certificates", |inside| {
                inside.opaque("cert_data").map(|_| ())
            })?;
            Ok(Credential::Other(2))
        }
        // RFC 9420 leaves the form of other credentials open; every engine we know frames them as one opaque.
        other => {
            cursor.opaque("credential")?;
            Ok(Credential::Other(other))
        }
    }
}

fn skip_capabilities(cursor: &mut Cursor<'_>) -> Result<(), Refused> {
    for name in [
        "versions",
        "cipher_suites",
        "extensions",
        "proposals",
        "credentials",
    ] {
        cursor.skip_vector(name, |inside| inside.u16("").map(|_| ()))?;
    }
    Ok(())
}

/// A list of extensions (section 13.4): no type twice.
pub(super) fn read_extensions(
    cursor: &mut Cursor<'_>,
    name: &str,
) -> Result<Vec<Extension>, Refused> {
    let mut seen = std::collections::BTreeSet::new();
    cursor.vector(name, |inside| {
        let extension_type = inside.u16("extension_type")?;
        if !seen.insert(extension_type) {
            return Err(Refused::new(Reason::RepeatedExtension, ""));
        }
        if seen.len() > EXTENSION_LIMIT {
            return Err(Refused::new(Reason::Oversized, ""));
        }
        let body = inside.opaque("extension_data")?.to_vec();
        Ok(Extension {
            extension_type,
            body,
        })
    })
}

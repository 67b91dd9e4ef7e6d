//! KeyPackage (RFC 9420 section 10).

use super::crypto;
use super::cursor::Cursor;
use super::leaf::{read_extensions, Extension, LeafFacts, LeafSource};
use super::refused::{Reason, Refused, Within};

/// The only version of MLS.
pub(super) const MLS10: u16 = 1;

/// WireFormat (section 17.2).
pub(super) mod wire_format {
    pub const PUBLIC_MESSAGE: u16 = 1;
    pub const WELCOME: u16 = 3;
    pub const GROUP_INFO: u16 = 4;
    pub const KEY_PACKAGE: u16 = 5;
}

/// Reads the head of an MLSMessage (section 6) that must carry `format`.
pub(super) fn read_head(cursor: &mut Cursor<'_>, format: u16) -> Result<(), Refused> {
    if cursor.u16("version")? != MLS10 {
        return Err(Refused::new(Reason::UnknownVersion, "version"));
    }
    if cursor.u16("wire_format")? != format {
        return Err(Refused::new(Reason::WrongWireFormat, "wire_format"));
    }
    Ok(())
}

/// A KeyPackage as read. Nothing is verified until [`KeyPackageFacts::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPackageFacts {
    pub suite: u16,
    pub init_key: Vec<u8>,
    pub leaf: LeafFacts,
    pub extensions: Vec<Extension>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    whole: Vec<u8>,
}

impl KeyPackageFacts {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Refused> {
        let start = *cursor;
        if cursor.u16("version")? != MLS10 {
            return Err(Refused::new(Reason::UnknownVersion, "version"));
        }
        let suite = cursor.u16("cipher_suite")?;
        let init_key = cursor.opaque("init_key")?.to_vec();
        let leaf = LeafFacts::read(cursor).within("leaf_node")?;
        let extensions = read_extensions(cursor, "extensions")?;
        let signed = cursor.since(start).to_vec();
        let signature = cursor.opaque("signature")?.to_vec();
        Ok(Self {
            suite,
            init_key,
            leaf,
            extensions,
            signed,
            signature,
            whole: cursor.since(start).to_vec(),
        })
    }

    /// Checks what section 10.1 demands and bytes can show: the signature of the package and that of its leaf, a
    /// leaf made for a KeyPackage, and two different HPKE keys that can be encrypted to. Lifetimes are left to whoever
    /// has a clock.
    ///
    /// # Errors
    /// [`Reason::WrongLeafSource`], [`Reason::RepeatedKey`], [`Reason::BadKey`], [`Reason::BadSignature`],
    /// [`Reason::UnsupportedSuite`].
    pub fn verify(&self) -> Result<(), Refused> {
        let place = "key_package";
        if !matches!(self.leaf.source, LeafSource::KeyPackage { .. }) {
            return Err(Refused::new(
                Reason::WrongLeafSource,
                "key_package.leaf_node",
            ));
        }
        if self.init_key == self.leaf.encryption_key {
            return Err(Refused::new(Reason::RepeatedKey, "key_package.init_key"));
        }
        self.leaf.verify(self.suite, None).within(place)?;
        crypto::verify(
            self.suite,
            &self.leaf.signature_key,
            "KeyPackageTBS",
            &self.signed,
            &self.signature,
            place,
        )?;
        self.check_keys()
    }

    /// Checks that something can be encrypted to the init key and to the leaf's key (section 10).
    ///
    /// # Errors
    /// [`Reason::BadKey`].
    pub fn check_keys(&self) -> Result<(), Refused> {
        let leaf_key = &self.leaf.encryption_key;
        crypto::encryption_key(self.suite, &self.init_key, "key_package.init_key")?;
        crypto::encryption_key(self.suite, leaf_key, "key_package.leaf_node.encryption_key")
    }

    /// KeyPackageRef (section 5.2), by which a Welcome names whom it is for.
    ///
    /// # Errors
    /// [`Reason::UnsupportedSuite`].
    pub fn reference(&self) -> Result<Vec<u8>, Refused> {
        crypto::reference(self.suite, "MLS 1.0 KeyPackage Reference", &self.whole)
    }

    /// The KeyPackage as received, without the head of an MLSMessage.
    pub fn bytes(&self) -> &[u8] {
        &self.whole
    }
}

/// Reads an MLSMessage that carries a KeyPackage. Only its form is checked.
///
/// # Errors
/// Any reason that concerns form; see [`Reason`].
pub fn inspect_key_package(message: &[u8]) -> Result<KeyPackageFacts, Refused> {
    Cursor::read_all(message, "key_package", |cursor| {
        read_head(cursor, wire_format::KEY_PACKAGE)?;
        KeyPackageFacts::read(cursor)
    })
}

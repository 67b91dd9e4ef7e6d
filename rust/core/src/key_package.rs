//! A key package with its private halves (RFC 9420 section 10). Knows the provider, nothing of groups.
//!
//! The private halves live here and in what `save` gives, and nowhere else: joining uses them without forgetting them, so
//! that a second Welcome, from a rival branch, opens as well. Whoever holds the value decides when it dies.

use std::fmt;

use mls_rs::identity::SigningIdentity;
use mls_rs::{KeyPackage as PublicKeyPackage, MlsMessage, WireFormat};
use mls_rs_codec::{MlsDecode, MlsEncode};
use mls_rs_core::crypto::{CipherSuiteProvider, HpkeSecretKey};
use mls_rs_core::key_package::KeyPackageData;
use zeroize::Zeroizing;

use crate::encoding::{decode, message, put};
use crate::provider::{failed, suite, Suite};
use crate::saved::{self, Kind};
use crate::shield::shielded_locally;
use crate::{Credential, Error, Result, Secret};

/// MLSMessage header: version mls10, wire format mls_key_package (RFC 9420 section 6).
pub(crate) const HEADER: [u8; 4] = [0, 1, 0, 5];

/// From when to when a key package may be used, in seconds since 1970 (RFC 9420 section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub not_before: u64,
    pub not_after: u64,
}

impl Lifetime {
    /// Always: a peer whose clock is behind refuses a key package of this minute, and joiners check the lifetime of every
    /// leaf that never committed.
    pub const WIDEST: Self = Self {
        not_before: 0,
        not_after: u64::MAX,
    };
}

/// A key package and the two private keys behind it.
#[derive(Clone)]
pub struct KeyPackage {
    reference: Vec<u8>,
    data: KeyPackageData,
    identity: SigningIdentity,
    suite: u16,
    last_resort: bool,
}

/// Of a key package that may be used more than once (draft-ietf-mls-extensions): its type, and it is empty.
pub const LAST_RESORT: u16 = 0x000a;

impl KeyPackage {
    /// From a public key package (an MLSMessage) and its private keys, wherever they were made.
    pub fn from_keys(public: &[u8], init_key: &Secret, leaf_key: &Secret) -> Result<Self> {
        let bytes = public.strip_prefix(&HEADER).ok_or_else(|| {
            Error::local("bad_key_package", "not an MLSMessage with a KeyPackage")
        })?;
        Self::from_data(KeyPackageData::new(
            bytes.to_vec(),
            HpkeSecretKey::from(init_key.expose().to_vec()),
            HpkeSecretKey::from(leaf_key.expose().to_vec()),
            u64::MAX,
        ))
    }

    pub(crate) fn from_data(data: KeyPackageData) -> Result<Self> {
        let bad = |detail: &str| Error::local("bad_key_package", detail);
        let public: PublicKeyPackage =
            decode(&data.key_package_bytes, "key_package").map_err(|error| bad(&error.detail))?;
        let functions = suite(public.cipher_suite.raw_value())?;
        shielded_locally("bad_key_package", || {
            let sealed = functions
                .hpke_seal(&public.hpke_init_key, b"probe", None, b"probe")
                .map_err(|_| bad("its init key is not a key"))?;
            functions
                .hpke_open(
                    &sealed,
                    &data.init_key,
                    &public.hpke_init_key,
                    b"probe",
                    None,
                )
                .map_err(|_| bad("the private init key does not fit the public one"))
        })?;
        Ok(Self {
            reference: reference(&functions, &data.key_package_bytes)?,
            identity: public.signing_identity().clone(),
            suite: public.cipher_suite.raw_value(),
            last_resort: public.extensions.has_extension(LAST_RESORT.into()),
            data,
        })
    }

    /// The MLSMessage to publish.
    pub fn public(&self) -> Vec<u8> {
        [HEADER.as_slice(), &self.data.key_package_bytes].concat()
    }

    /// The KeyPackage alone.
    pub(crate) fn bare(&self) -> &[u8] {
        &self.data.key_package_bytes
    }

    /// KeyPackageRef (RFC 9420 section 5.2): how a Welcome names it.
    pub fn reference(&self) -> &[u8] {
        &self.reference
    }

    pub fn suite(&self) -> u16 {
        self.suite
    }

    pub fn credential(&self) -> Credential {
        Credential::of_engine(&self.identity.credential)
    }

    /// Whether it says of itself that it may be used more than once.
    pub fn last_resort(&self) -> bool {
        self.last_resort
    }

    pub fn signature_key(&self) -> &[u8] {
        &self.identity.signature_key
    }

    pub fn save(&self) -> Result<Secret> {
        let body = self
            .data
            .mls_encode_to_vec()
            .map_err(|error| Error::local("too_long", error.to_string()))?;
        saved::seal(Kind::KeyPackage, &Zeroizing::new(body))
    }

    pub fn load(saved: &Secret) -> Result<Self> {
        let body = saved::open(Kind::KeyPackage, saved)?;
        let data = KeyPackageData::mls_decode(&mut body.as_slice())
            .map_err(|error| Error::local("bad_saved_state", error.to_string()))?;
        Self::from_data(data)
    }

    pub(crate) fn entry(&self) -> (Vec<u8>, KeyPackageData) {
        (self.reference.clone(), self.data.clone())
    }
}

impl fmt::Debug for KeyPackage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPackage(reference=")?;
        self.reference
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str(")")
    }
}

/// RefHash over the bytes as they came: re-encoding could change them.
fn reference(functions: &Suite, key_package: &[u8]) -> Result<Vec<u8>> {
    let mut input = Vec::with_capacity(key_package.len() + 40);
    put(b"MLS 1.0 KeyPackage Reference", &mut input)?;
    put(key_package, &mut input)?;
    functions.hash(&input).map_err(|error| failed(&error))
}

/// A key package somebody else published, decoded; what is wrong with it is their fault.
pub(crate) fn received(bytes: &[u8]) -> Result<MlsMessage> {
    let message = message(bytes, "key_package", &[WireFormat::KeyPackage])?;
    Ok(message)
}

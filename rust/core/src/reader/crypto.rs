//! Signatures and hashes over sliced bytes, by the crypto provider of the build. Knows no message.

use mls_rs_core::crypto::{CipherSuite, CipherSuiteProvider, CryptoProvider};

use super::cursor::write_opaque;
use super::refused::{Reason, Refused, Within};
use crate::provider::{can_be_sealed_to, Provider, Suite};
use crate::verify_signature;

fn suite_provider(suite: u16) -> Result<Suite, Refused> {
    Provider::new()
        .cipher_suite_provider(CipherSuite::new(suite))
        .ok_or_else(|| Refused::new(Reason::UnsupportedSuite, "suite"))
}

/// `VerifyWithLabel` (section 5.1.2).
pub(super) fn verify(
    suite: u16,
    signature_key: &[u8],
    label: &str,
    content: &[u8],
    signature: &[u8],
    place: &str,
) -> Result<(), Refused> {
    suite_provider(suite)?;
    let mut signed = Vec::with_capacity(content.len().saturating_add(64));
    write_opaque(&mut signed, format!("MLS 1.0 {label}").as_bytes()).within(place)?;
    write_opaque(&mut signed, content).within(place)?;
    verify_signature(suite, signature_key, &signed, signature)
        .map_err(|_| Refused::new(Reason::BadSignature, place))
}

/// Whether this is a key that something can be encrypted to (section 5.1.1).
pub(super) fn encryption_key(suite: u16, key: &[u8], place: &str) -> Result<(), Refused> {
    if can_be_sealed_to(suite, key) {
        Ok(())
    } else {
        Err(Refused::new(Reason::BadKey, place))
    }
}

/// `Hash` of the suite.
pub(super) fn hash(suite: u16, data: &[u8]) -> Result<Vec<u8>, Refused> {
    suite_provider(suite)?
        .hash(data)
        .map_err(|_| Refused::new(Reason::UnsupportedSuite, "suite"))
}

/// `RefHash` (section 5.2).
pub(super) fn reference(suite: u16, label: &str, value: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut input = Vec::with_capacity(value.len().saturating_add(64));
    write_opaque(&mut input, label.as_bytes())?;
    write_opaque(&mut input, value)?;
    hash(suite, &input)
}

/// `interim_transcript_hash` (section 8.2) of the epoch whose confirmed transcript hash and confirmation tag these
/// are. The confirmed hash of epoch 0 is empty.
///
/// # Errors
/// [`Reason::UnsupportedSuite`].
pub fn interim_transcript_hash(
    suite: u16,
    confirmed: &[u8],
    confirmation_tag: &[u8],
) -> Result<Vec<u8>, Refused> {
    let mut input = confirmed.to_vec();
    write_opaque(&mut input, confirmation_tag)?;
    hash(suite, &input)
}

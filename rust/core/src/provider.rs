//! The cryptographic provider: the one place that names it. AWS-LC unless the feature `rustcrypto` is chosen instead.

use mls_rs_core::crypto::{
    CipherSuite, CipherSuiteProvider, CryptoProvider, HpkePublicKey, SignaturePublicKey,
};
use mls_rs_core::identity::{CertificateChain, DerCertificate};
use mls_rs_core::time::MlsTime;
use mls_rs_identity_x509::{X509CertificateReader, X509CredentialValidator};

use crate::{Error, Lifetime, Result, Secret};

#[cfg(not(any(feature = "awslc", feature = "rustcrypto")))]
compile_error!("choose a cryptographic provider: feature `awslc` or `rustcrypto`");
#[cfg(all(feature = "awslc", feature = "rustcrypto"))]
compile_error!("choose one cryptographic provider: `rustcrypto` needs --no-default-features");

#[cfg(feature = "awslc")]
pub(crate) use crate::post_quantum::Provider;
#[cfg(all(feature = "rustcrypto", not(feature = "awslc")))]
pub(crate) use mls_rs_crypto_rustcrypto::RustCryptoProvider as Provider;

#[cfg(feature = "awslc")]
use mls_rs_crypto_awslc::x509::{CertificateParser, CertificateValidator};
#[cfg(all(feature = "rustcrypto", not(feature = "awslc")))]
use mls_rs_crypto_rustcrypto::x509::{X509Reader, X509Validator};

pub(crate) type Suite = <Provider as CryptoProvider>::CipherSuiteProvider;

/// What the provider calls its errors; they carry no secret.
pub(crate) type ProviderError = <Suite as CipherSuiteProvider>::Error;

/// The cipher suites of RFC 9420 section 17.1 that the provider can do, smallest number first.
pub fn suites() -> Vec<u16> {
    let (mut numbers, _) = split_suites();
    numbers.sort_unstable();
    numbers
}

/// The post-quantum ones, whose numbers nobody has assigned yet. RustCrypto's provider has none.
pub fn post_quantum_suites() -> Vec<u16> {
    split_suites().1
}

/// RFC 9420's are numbered up to 7.
fn split_suites() -> (Vec<u16>, Vec<u16>) {
    Provider::new()
        .supported_cipher_suites()
        .iter()
        .map(CipherSuite::raw_value)
        .partition(|number| *number <= CipherSuite::P384_AES256.raw_value())
}

/// The functions of a cipher suite; an unknown one is the caller's fault here.
pub(crate) fn suite(number: u16) -> Result<Suite> {
    Provider::new()
        .cipher_suite_provider(CipherSuite::new(number))
        .ok_or_else(|| Error::local("unsupported_suite", format!("cipher suite {number}")))
}

/// HKDF-SHA256, whatever suite a group has: suite 1 is mandatory to implement (RFC 9420 section 17.1) and its KDF is that.
pub(crate) fn sha256_suite() -> Result<Suite> {
    suite(CipherSuite::CURVE25519_AES128.raw_value())
}

/// The points of small order of Curve25519 in all their encodings, without the bit that X25519 ignores (RFC 7748 section 5).
/// HPKE refuses to seal to one (RFC 9180 section 7.1.4): the secret would be no secret.
const SMALL_ORDER: [[u8; 32]; 7] = {
    const fn end(first: u8) -> [u8; 32] {
        let mut bytes = [0xff; 32];
        bytes[0] = first;
        bytes[31] = 0x7f;
        bytes
    }
    let zero = [0; 32];
    let mut one = zero;
    one[0] = 1;
    [
        zero,
        one,
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83,
            0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd,
            0xd0, 0x9f, 0x11, 0x57,
        ],
        end(0xec),
        end(0xed),
        end(0xee),
    ]
};

/// Whether HPKE can seal to this public key. The engine does not ask, and a leaf whose key is none would let nobody commit
/// a path any more: nobody could be removed.
pub(crate) fn can_be_sealed_to(number: u16, key: &[u8]) -> bool {
    let Some(functions) = Provider::new().cipher_suite_provider(CipherSuite::new(number)) else {
        return false;
    };
    let key_of_engine = || HpkePublicKey::from(key.to_vec());
    match CipherSuite::new(number) {
        CipherSuite::CURVE25519_AES128 | CipherSuite::CURVE25519_CHACHA => {
            let mut masked = key.to_vec();
            masked.last_mut().into_iter().for_each(|last| *last &= 0x7f);
            masked.len() == 32 && !SMALL_ORDER.iter().any(|point| point.as_slice() == masked)
        }
        // These say themselves whether it is a point of the curve.
        CipherSuite::P256_AES128 | CipherSuite::P384_AES256 | CipherSuite::P521_AES256 => {
            functions.kem_public_key_validate(&key_of_engine()).is_ok()
        }
        _ => functions
            .hpke_seal(&key_of_engine(), b"probe", None, b"probe")
            .is_ok(),
    }
}

/// Whether this can be a public signature key of the suite (RFC 9420 section 5.1.1). For the NIST curves, on which the
/// suite's KEM works too, it is asked whether it is a point of the curve; for Ed25519, what the provider asks. Of a suite
/// unknown here anything can.
pub(crate) fn is_signature_key(number: u16, key: &[u8]) -> bool {
    if suite(number).is_err() {
        true
    } else if signs_with_ed25519(number) {
        is_ed25519_key(key)
    } else {
        can_be_sealed_to(number, key)
    }
}

/// Whether it can be a public Ed25519 key. AWS-LC looks at the length; whether it is a point is seen only as a signature is
/// verified, where a key that is none and a signature that does not hold fail alike. RustCrypto decodes the point (RFC 8032
/// section 5.1.3).
fn is_ed25519_key(key: &[u8]) -> bool {
    #[cfg(feature = "awslc")]
    {
        use aws_lc_rs::signature::{ParsedPublicKey, ED25519, ED25519_PUBLIC_KEY_LEN};
        // Other lengths are read as a SubjectPublicKeyInfo.
        key.len() == ED25519_PUBLIC_KEY_LEN && ParsedPublicKey::new(&ED25519, key).is_ok()
    }
    #[cfg(all(feature = "rustcrypto", not(feature = "awslc")))]
    {
        let bytes = <&[u8; 32]>::try_from(key);
        bytes.is_ok_and(|bytes| ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok())
    }
}

/// The public half of an Ed25519 key, from its seed (RFC 8032 section 5.1.5); nothing if the seed is none. The engine's
/// providers take the public half from what they are given.
pub(crate) fn ed25519_public(seed: &[u8]) -> Option<Vec<u8>> {
    #[cfg(feature = "awslc")]
    {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(pair.public_key().as_ref().to_vec())
    }
    #[cfg(all(feature = "rustcrypto", not(feature = "awslc")))]
    {
        let pair = ed25519_dalek::SigningKey::from_bytes(seed.try_into().ok()?);
        Some(pair.verifying_key().to_bytes().to_vec())
    }
}

/// Whether the suite signs with Ed25519 (RFC 9420 section 17.1); the post-quantum one does too.
pub(crate) fn signs_with_ed25519(number: u16) -> bool {
    !matches!(
        CipherSuite::new(number),
        CipherSuite::P256_AES128 | CipherSuite::P384_AES256 | CipherSuite::P521_AES256
    )
}

pub(crate) fn failed(error: &ProviderError) -> Error {
    Error::local("provider_failure", format!("{error:?}"))
}

/// Random bytes from the provider's generator.
pub fn random_bytes(length: usize) -> Result<Secret> {
    sha256_suite()?
        .random_bytes_vec(length)
        .map(Secret::from)
        .map_err(|error| failed(&error))
}

/// The key of the leaf certificate, if the chain leads to one of `roots`. Validity periods are checked against `time`.
pub(crate) fn certified_key(
    chain: &CertificateChain,
    roots: &[DerCertificate],
    time: Option<MlsTime>,
) -> std::result::Result<SignaturePublicKey, String> {
    // The engine wants a time where we give none: it is given one at which key packages are good, often the first or the
    // last there is, and no certificate is to be measured by these.
    let time = time.filter(|time| {
        let seconds = time.seconds_since_epoch();
        seconds != Lifetime::WIDEST.not_before && i64::try_from(seconds).is_ok()
    });
    #[cfg(feature = "awslc")]
    let validator = CertificateValidator::new_der(roots);
    #[cfg(all(feature = "rustcrypto", not(feature = "awslc")))]
    let validator = X509Validator::new(roots.to_vec());
    validator
        .map_err(|error| format!("a root: {error}"))?
        .validate_chain(chain, time)
        .map_err(|error| error.to_string())
}

/// The subject of a certificate, DER-encoded.
pub(crate) fn subject(certificate: &DerCertificate) -> std::result::Result<Vec<u8>, String> {
    #[cfg(feature = "awslc")]
    let reader = CertificateParser::new();
    #[cfg(all(feature = "rustcrypto", not(feature = "awslc")))]
    let reader = X509Reader::new();
    reader
        .subject_bytes(certificate)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_every_suite_can_be_sealed_to_and_no_others() {
        for number in suites() {
            let (_, key) = suite(number).unwrap().kem_generate().unwrap();
            assert!(can_be_sealed_to(number, &key));
            assert!(!can_be_sealed_to(number, &[]));
            assert!(!can_be_sealed_to(number, key.split_last().unwrap().1));
            assert!(!can_be_sealed_to(number, &[&key[..], &[0]].concat()));
            assert!(!can_be_sealed_to(number, &vec![0; key.len()]));
        }
        assert!(!can_be_sealed_to(0xF000, &[0; 32]));
    }

    #[test]
    fn the_signature_keys_of_every_suite_are_keys_and_others_are_not() {
        for number in suites().into_iter().chain(post_quantum_suites()) {
            let (_, key) = suite(number).unwrap().signature_key_generate().unwrap();
            assert!(is_signature_key(number, &key));
            assert!(!is_signature_key(number, &[7; 2]));
            assert!(!is_signature_key(number, key.split_last().unwrap().1));
            assert!(!is_signature_key(number, &[&key[..], &[0]].concat()));
            if !signs_with_ed25519(number) {
                assert!(!is_signature_key(number, &vec![4; key.len()]));
            }
        }
        assert!(is_signature_key(0xF000, &[7; 2]));
    }

    /// No point has this y: RustCrypto says so. AWS-LC takes it for a key, and tells of no signature under it otherwise than
    /// of one that does not hold. The test fails when a new version looks.
    #[test]
    fn bytes_that_are_no_point_are_an_ed25519_key_where_the_provider_does_not_look() {
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert_eq!(is_signature_key(1, &no_point), cfg!(feature = "awslc"));
        let functions = suite(1).unwrap();
        let (secret, key) = functions.signature_key_generate().unwrap();
        let signature = functions.sign(&secret, b"message").unwrap();
        let told = |key: SignaturePublicKey, message| {
            let verified = functions.verify(&key, &signature, message);
            format!("{:?}", verified.unwrap_err())
        };
        let bad_key = told(no_point.to_vec().into(), b"message");
        let bad_signature = told(key, b"another");
        if cfg!(feature = "awslc") {
            assert_eq!(bad_key, bad_signature);
        }
    }

    #[test]
    fn points_of_small_order_are_refused_with_and_without_the_ignored_bit() {
        for point in SMALL_ORDER {
            for bit in [0, 0x80] {
                let mut key = point.to_vec();
                *key.last_mut().unwrap() |= bit;
                assert!(!can_be_sealed_to(1, &key));
                #[cfg(feature = "awslc")]
                assert!(sha256_suite()
                    .unwrap()
                    .hpke_seal(&key.into(), b"", None, b"")
                    .is_err());
            }
        }
    }
}

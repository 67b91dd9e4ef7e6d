//! The cryptographic provider: the one place that names it. AWS-LC unless the feature `rustcrypto` is chosen instead.

use mls_rs_core::crypto::{CipherSuite, CipherSuiteProvider, CryptoProvider, SignaturePublicKey};
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

//! Leaf signature keys (RFC 9420 section 5.1.1). Knows the provider, nothing of groups.

use std::fmt;

use mls_rs_core::crypto::{CipherSuiteProvider, SignaturePublicKey, SignatureSecretKey};
use zeroize::Zeroizing;

use crate::provider::{ed25519_public, failed, signs_with_ed25519, suite};
use crate::shield::{shielded, shielded_locally};
use crate::{Error, Result, Secret};

/// What is signed to see whether two halves fit; never sent.
const PROBE: &[u8] = b"probe";

/// A signature key pair of one cipher suite. Printing it shows the public half only.
#[derive(Clone)]
pub struct SigningKey {
    suite: u16,
    secret: SignatureSecretKey,
    public: SignaturePublicKey,
}

impl SigningKey {
    /// A fresh key pair from the provider's generator.
    pub fn generate(number: u16) -> Result<Self> {
        let (secret, public) = suite(number)?
            .signature_key_generate()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            suite: number,
            secret,
            public,
        })
    }

    /// A key pair that `save` gave. For Ed25519 the 32-byte seed and then the 32-byte public key, for the NIST curves the scalar.
    pub fn load(number: u16, secret: &Secret) -> Result<Self> {
        let functions = suite(number)?;
        let refuse = || Error::local("bad_key", "not a signature key of this cipher suite");
        shielded_locally("bad_key", || {
            let secret = SignatureSecretKey::new(secret.expose().to_vec());
            // A provider may take the public half out of the secret without looking at its length first.
            let probe = functions.sign(&secret, PROBE).map_err(|_| refuse())?;
            let public = functions
                .signature_key_derive_public(&secret)
                .map_err(|_| refuse())?;
            // An Ed25519 secret carries its public half, and signing under another one gives the secret away: they must fit.
            functions
                .verify(&public, &probe, PROBE)
                .map_err(|_| refuse())?;
            Ok(Self {
                suite: number,
                secret,
                public,
            })
        })
    }

    /// The Ed25519 key pair of a 32-byte seed (RFC 8032 section 5.1.5), the private key of most other libraries.
    pub fn from_seed(number: u16, seed: &Secret) -> Result<Self> {
        suite(number)?;
        if !signs_with_ed25519(number) {
            return Err(Error::local(
                "bad_key",
                "keys of this cipher suite have no seed: load the scalar",
            ));
        }
        let public = ed25519_public(seed.expose())
            .ok_or_else(|| Error::local("bad_key", "a seed has 32 bytes"))?;
        let both = Zeroizing::new([seed.expose(), &public].concat());
        Self::load(number, &Secret::from(both))
    }

    pub fn save(&self) -> Secret {
        Secret::from(self.secret.as_bytes())
    }

    pub fn suite(&self) -> u16 {
        self.suite
    }

    pub fn public(&self) -> &[u8] {
        &self.public
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        suite(self.suite)?
            .sign(&self.secret, message)
            .map_err(|error| failed(&error))
    }

    pub(crate) fn secret(&self) -> &SignatureSecretKey {
        &self.secret
    }

    pub(crate) fn public_key(&self) -> &SignaturePublicKey {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey(suite={}, public=", self.suite)?;
        self.public
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str(")")
    }
}

/// Checks a signature; one that does not hold, or a key that is none, is somebody else's fault.
pub fn verify_signature(
    number: u16,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    let functions = suite(number).map_err(|error| Error::remote(error.reason, error.detail))?;
    shielded(|| {
        functions
            .verify(
                &SignaturePublicKey::new_slice(public_key),
                signature,
                message,
            )
            .map_err(|_| Error::remote("bad_signature", "it does not verify under this key"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{suites, Fault};

    #[test]
    fn signs_saves_and_loads_in_every_suite() {
        for number in suites() {
            let key = SigningKey::generate(number).unwrap();
            let again = SigningKey::load(number, &key.save()).unwrap();
            assert_eq!(key.public(), again.public());
            let signature = again.sign(b"message").unwrap();
            verify_signature(number, key.public(), b"message", &signature).unwrap();
            let error = verify_signature(number, key.public(), b"another", &signature).unwrap_err();
            assert_eq!(
                (error.fault, error.reason),
                (Fault::Remote, "bad_signature")
            );
        }
    }

    #[test]
    fn refuses_a_secret_with_a_foreign_public_half() {
        let (one, two) = (
            SigningKey::generate(1).unwrap(),
            SigningKey::generate(1).unwrap(),
        );
        let mixed = [one.save().expose().split_at(32).0, two.public()].concat();
        assert_eq!(
            SigningKey::load(1, &Secret::from(mixed))
                .unwrap_err()
                .reason,
            "bad_key"
        );
    }

    #[test]
    fn the_seed_of_a_saved_key_gives_the_same_key() {
        for number in suites() {
            let key = SigningKey::generate(number).unwrap();
            let saved = key.save();
            let seed = Secret::from(saved.expose().split_at(32).0);
            match SigningKey::from_seed(number, &seed) {
                Ok(again) => assert_eq!(again.save(), saved),
                Err(error) => {
                    assert!(!signs_with_ed25519(number));
                    assert_eq!(error.reason, "bad_key");
                }
            }
        }
        for wrong in [0, 31, 33, 64] {
            let refused = SigningKey::from_seed(1, &Secret::from(vec![7; wrong])).unwrap_err();
            assert_eq!(refused.reason, "bad_key");
        }
    }

    #[test]
    fn prints_the_public_half_only() {
        let key = SigningKey::generate(1).unwrap();
        let secret: String = key
            .save()
            .expose()
            .iter()
            .take(32)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(!format!("{key:?}").contains(&secret));
    }
}

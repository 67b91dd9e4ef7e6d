//! X-Wing (draft-connolly-cfrg-xwing-kem-06): one KEM of ML-KEM-768 and X25519, as strong as the stronger of the two.
//!
//! The provider's own combination follows an earlier draft and interoperates with nobody: another order of what is hashed,
//! and another number. So the parts of the provider are combined here, which is one expansion and one hash.

use mls_rs_core::crypto::{CipherSuite, CipherSuiteProvider, HpkePublicKey, HpkeSecretKey};
use mls_rs_crypto_awslc::{AwsLcCipherSuite, AwsLcCryptoError, AwsLcHash, Ecdh, MlKemKem, Sha3};
use mls_rs_crypto_traits::{DhType, Hash, KemResult, KemType};
use shake::digest::{ExtendableOutput, Update, XofReader};
use shake::Shake256;
use zeroize::Zeroizing;

const LABEL: &[u8; 6] = br"\.//^\";

/// Bytes of a private key, which is a seed, and of what is drawn out of it for either part.
const SEED: usize = 32;
const ML_KEM_SEED: usize = 64;

/// Bytes that the public key and the ciphertext of ML-KEM-768 take (FIPS 203, table 3); X25519's 32 follow.
const ML_KEM_PUBLIC: usize = 1184;
const ML_KEM_CIPHERTEXT: usize = 1088;

type Result<T> = std::result::Result<T, AwsLcCryptoError>;

#[derive(Clone)]
pub(crate) struct XWing {
    random: AwsLcCipherSuite,
    ml_kem: MlKemKem,
    x25519: Ecdh,
    sha3: AwsLcHash,
}

/// The key pairs of the parts, as private and public key.
struct Parts {
    ml_kem: (HpkeSecretKey, HpkePublicKey),
    x25519: (HpkeSecretKey, HpkePublicKey),
}

impl XWing {
    /// `random` is asked for random bytes alone. None if the provider lacks a part.
    pub(crate) fn new(random: AwsLcCipherSuite) -> Option<Self> {
        Some(Self {
            random,
            ml_kem: MlKemKem::new(CipherSuite::ML_KEM_768)?,
            x25519: Ecdh::new(CipherSuite::CURVE25519_CHACHA)?,
            sha3: AwsLcHash::new_sha3(Sha3::SHA3_256)?,
        })
    }

    /// The draft's expandDecapsulationKey.
    fn expand(&self, seed: &[u8]) -> Result<Parts> {
        if seed.len() != SEED {
            return Err(AwsLcCryptoError::InvalidKeyData);
        }
        let expanded = shake256::<{ ML_KEM_SEED + 32 }>(seed);
        let (for_ml_kem, for_x25519) = expanded.split_at(ML_KEM_SEED);
        let private = HpkeSecretKey::from(for_x25519.to_vec());
        let public = self.x25519.to_public(&private)?;
        Ok(Parts {
            ml_kem: self.ml_kem.generate_deterministic(for_ml_kem)?,
            x25519: (private, public),
        })
    }

    /// The private key with its public one.
    fn pair(&self, seed: HpkeSecretKey) -> Result<(HpkeSecretKey, HpkePublicKey)> {
        let parts = self.expand(&seed)?;
        let public = [&*parts.ml_kem.1, &*parts.x25519.1].concat();
        Ok((seed, public.into()))
    }

    /// The draft's Combiner. Public keys and ciphertexts of ML-KEM are bound by ML-KEM itself.
    fn combine(
        &self,
        of_ml_kem: &[u8],
        of_x25519: &[u8],
        ciphertext: &[u8],
        public: &[u8],
    ) -> Result<Vec<u8>> {
        let input = [of_ml_kem, of_x25519, ciphertext, public, LABEL.as_slice()].concat();
        self.sha3.hash(&Zeroizing::new(input))
    }
}

fn shake256<const LENGTH: usize>(input: &[u8]) -> Zeroizing<[u8; LENGTH]> {
    let mut output = Zeroizing::new([0; LENGTH]);
    let mut state = Shake256::default();
    state.update(input);
    state.finalize_xof().read(output.as_mut_slice());
    output
}

/// The two parts of a public key or ciphertext, whose first one takes `length` bytes. Nothing may be left over.
fn split(bytes: &[u8], length: usize) -> Result<(&[u8], &[u8])> {
    bytes
        .split_at_checked(length)
        .filter(|(_, rest)| rest.len() == 32)
        .ok_or(AwsLcCryptoError::InvalidKeyData)
}

impl KemType for XWing {
    type Error = AwsLcCryptoError;

    fn kem_id(&self) -> u16 {
        0x647A
    }

    fn seed_length_for_derive(&self) -> usize {
        SEED
    }

    /// The draft's DeriveKeyPair, of key material of any length.
    fn generate_deterministic(&self, material: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey)> {
        self.pair(shake256::<SEED>(material).to_vec().into())
    }

    fn generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey)> {
        self.pair(self.random.random_bytes_vec(SEED)?.into())
    }

    /// A key is good if something can be sealed to it: ML-KEM checks its half (FIPS 203 section 7.2), and X25519
    /// refuses a point of low order.
    fn public_key_validate(&self, key: &HpkePublicKey) -> Result<()> {
        self.encap(key).map(|_| ())
    }

    fn encap(&self, remote: &HpkePublicKey) -> Result<KemResult> {
        let (ml_kem, x25519) = split(remote, ML_KEM_PUBLIC)?;
        let sealed = self.ml_kem.encap(&ml_kem.to_vec().into())?;
        let (ephemeral, ciphertext) = self.x25519.generate()?;
        let shared = Zeroizing::new(self.x25519.dh(&ephemeral, &x25519.to_vec().into())?);
        let combined = self.combine(&sealed.shared_secret, &shared, &ciphertext, x25519)?;
        let enc = [sealed.enc.as_slice(), &ciphertext].concat();
        Ok(KemResult::new(combined, enc))
    }

    fn decap(&self, enc: &[u8], secret: &HpkeSecretKey, _: &HpkePublicKey) -> Result<Vec<u8>> {
        let (sealed, ciphertext) = split(enc, ML_KEM_CIPHERTEXT)?;
        let parts = self.expand(secret)?;
        let (private, public) = &parts.ml_kem;
        let of_ml_kem = Zeroizing::new(self.ml_kem.decap(sealed, private, public)?);
        let (private, public) = &parts.x25519;
        let of_x25519 = Zeroizing::new(self.x25519.dh(private, &ciphertext.to_vec().into())?);
        self.combine(&of_ml_kem, &of_x25519, ciphertext, public)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mls_rs_core::crypto::CryptoProvider;

    use super::*;

    /// Seed, public key, ciphertext and shared secret of the draft's appendix C, in this order, in hexadecimal.
    const VECTORS: &str = include_str!("../tests/x_wing.txt");

    fn kem() -> XWing {
        let suites = mls_rs_crypto_awslc::AwsLcCryptoProvider::new();
        let random = suites.cipher_suite_provider(CipherSuite::CURVE25519_CHACHA);
        XWing::new(random.unwrap()).unwrap()
    }

    fn vectors() -> Vec<[Vec<u8>; 4]> {
        let lines: Vec<Vec<u8>> = VECTORS.lines().map(opened).collect();
        lines
            .chunks_exact(4)
            .map(|four| <[Vec<u8>; 4]>::try_from(four.to_vec()).unwrap())
            .collect()
    }

    fn opened(line: &str) -> Vec<u8> {
        line.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn expands_seeds_and_opens_as_the_draft_does() {
        let kem = kem();
        for [seed, public, enc, shared] in vectors() {
            let (secret, expanded) = kem.pair(seed.into()).unwrap();
            assert_eq!(&*expanded, public);
            assert_eq!(kem.decap(&enc, &secret, &expanded).unwrap(), shared);
        }
        assert_eq!(vectors().len(), 3);
    }

    #[test]
    fn opens_what_it_seals_and_nothing_else() {
        let kem = kem();
        let (secret, public) = kem.generate().unwrap();
        let (other, _) = kem.generate().unwrap();
        assert_eq!((secret.len(), public.len()), (32, 1216));
        let KemResult { shared_secret, enc } = &kem.encap(&public).unwrap();
        assert_eq!((enc.len(), shared_secret.len()), (1120, 32));
        assert_eq!(&kem.decap(enc, &secret, &public).unwrap(), shared_secret);
        assert_ne!(&kem.decap(enc, &other, &public).unwrap(), shared_secret);
        for at in [0, 1087, 1088] {
            let mut bent = enc.clone();
            *bent.get_mut(at).unwrap() ^= 1;
            assert_ne!(&kem.decap(&bent, &secret, &public).unwrap(), shared_secret);
        }
    }

    #[test]
    fn refuses_what_has_another_length_or_is_no_key() {
        let kem = kem();
        let (secret, public) = kem.generate().unwrap();
        let sealed = kem.encap(&public).unwrap();
        for length in [0, 31, 32, 1087, 1088, 1119] {
            let short = sealed.enc.get(..length).unwrap();
            assert!(kem.decap(short, &secret, &public).is_err(), "{length}");
            let short = public.get(..length).unwrap().to_vec();
            assert!(kem.encap(&short.into()).is_err(), "{length}");
        }
        let long = [&*public, &[0]].concat();
        assert!(kem.encap(&long.into()).is_err());
        let long = [&sealed.enc, [0].as_slice()].concat();
        assert!(kem.decap(&long, &secret, &public).is_err());
        for length in [0, 31, 33, 2400] {
            let wrong = HpkeSecretKey::from(vec![7; length]);
            assert!(kem.decap(&sealed.enc, &wrong, &public).is_err(), "{length}");
        }
        // A coefficient that is not reduced, and the point at infinity.
        let unreduced = [[0xff; 3].as_slice(), public.get(3..).unwrap()].concat();
        let low_order = [public.get(..1184).unwrap(), [0; 32].as_slice()].concat();
        assert!(kem.public_key_validate(&public).is_ok());
        assert!(kem.public_key_validate(&unreduced.into()).is_err());
        assert!(kem.public_key_validate(&low_order.into()).is_err());
    }
}

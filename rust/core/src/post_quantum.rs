//! AWS-LC with one suite more: 0x004D, which is suite 3 with X-Wing as its KEM, as OpenMLS has it
//! (MLS_256_XWING_CHACHA20POLY1305_SHA256_Ed25519). Everything but HPKE is suite 3's own.

use mls_rs_core::crypto::{
    CipherSuite, CipherSuiteProvider, CryptoProvider, HpkeCiphertext, HpkePsk, HpkePublicKey,
    HpkeSecretKey, SignaturePublicKey, SignatureSecretKey,
};
use mls_rs_crypto_awslc::{
    AwsLcAead, AwsLcCipherSuite, AwsLcCryptoError, AwsLcCryptoProvider, AwsLcHkdf,
};
use mls_rs_crypto_hpke::hpke::Hpke;
use mls_rs_crypto_traits::KemType;
use zeroize::Zeroizing;

use crate::x_wing::XWing;

pub(crate) const X_WING: CipherSuite = CipherSuite::new(0x004D);
const ALL_BUT_HPKE: CipherSuite = CipherSuite::CURVE25519_CHACHA;

type Outcome<T> = Result<T, AwsLcCryptoError>;

#[derive(Clone, Debug)]
pub(crate) struct Provider(AwsLcCryptoProvider);

impl Provider {
    pub(crate) fn new() -> Self {
        Self(AwsLcCryptoProvider::new())
    }
}

impl CryptoProvider for Provider {
    type CipherSuiteProvider = Suite;

    /// Without the numbers for private use that AWS-LC's provider has for ML-KEM.
    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        let mut suites = AwsLcCryptoProvider::supported_classical_cipher_suites();
        suites.push(X_WING);
        suites
    }

    fn cipher_suite_provider(&self, number: CipherSuite) -> Option<Suite> {
        if number == X_WING {
            return Suite::x_wing(self.0.cipher_suite_provider(ALL_BUT_HPKE)?);
        }
        self.supported_cipher_suites()
            .contains(&number)
            .then(|| self.0.cipher_suite_provider(number))?
            .map(Suite::Classical)
    }
}

/// A cipher suite: AWS-LC's own, or one whose HPKE has another KEM.
#[derive(Clone)]
pub(crate) enum Suite {
    Classical(AwsLcCipherSuite),
    XWing(Box<WithXWing>),
}

#[derive(Clone)]
pub(crate) struct WithXWing {
    all_but_hpke: AwsLcCipherSuite,
    kem: XWing,
    hpke: Hpke<XWing, AwsLcHkdf, AwsLcAead>,
}

impl Suite {
    fn x_wing(all_but_hpke: AwsLcCipherSuite) -> Option<Self> {
        let kem = XWing::new(all_but_hpke.clone())?;
        let hkdf = AwsLcHkdf::new(ALL_BUT_HPKE)?;
        let aead = AwsLcAead::new(ALL_BUT_HPKE)?;
        let hpke = Hpke::new(kem.clone(), hkdf, Some(aead));
        Some(Self::XWing(Box::new(WithXWing {
            all_but_hpke,
            kem,
            hpke,
        })))
    }

    fn all_but_hpke(&self) -> &AwsLcCipherSuite {
        match self {
            Self::Classical(suite) => suite,
            Self::XWing(suite) => &suite.all_but_hpke,
        }
    }
}

impl CipherSuiteProvider for Suite {
    type Error = AwsLcCryptoError;
    type HpkeContextS = <AwsLcCipherSuite as CipherSuiteProvider>::HpkeContextS;
    type HpkeContextR = <AwsLcCipherSuite as CipherSuiteProvider>::HpkeContextR;

    fn cipher_suite(&self) -> CipherSuite {
        match self {
            Self::Classical(suite) => suite.cipher_suite(),
            Self::XWing(_) => X_WING,
        }
    }

    fn hpke_seal(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
    ) -> Outcome<HpkeCiphertext> {
        match self {
            Self::Classical(suite) => suite.hpke_seal(remote_key, info, aad, pt),
            Self::XWing(suite) => Ok(suite.hpke.seal(remote_key, info, None, aad, pt)?),
        }
    }

    fn hpke_seal_psk(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
        psk: HpkePsk<'_>,
    ) -> Outcome<HpkeCiphertext> {
        match self {
            Self::Classical(suite) => suite.hpke_seal_psk(remote_key, info, aad, pt, psk),
            Self::XWing(suite) => Ok(suite.hpke.seal(remote_key, info, Some(psk), aad, pt)?),
        }
    }

    fn hpke_open(
        &self,
        ciphertext: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Outcome<Zeroizing<Vec<u8>>> {
        match self {
            Self::Classical(suite) => suite.hpke_open(ciphertext, secret, public, info, aad),
            Self::XWing(suite) => {
                Ok((suite.hpke).open(ciphertext, secret, public, info, None, aad)?)
            }
        }
    }

    fn hpke_open_psk(
        &self,
        ciphertext: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Outcome<Zeroizing<Vec<u8>>> {
        match self {
            Self::Classical(suite) => {
                suite.hpke_open_psk(ciphertext, secret, public, info, aad, psk)
            }
            Self::XWing(suite) => {
                Ok((suite.hpke).open(ciphertext, secret, public, info, Some(psk), aad)?)
            }
        }
    }

    fn hpke_setup_s(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
    ) -> Outcome<(Vec<u8>, Self::HpkeContextS)> {
        match self {
            Self::Classical(suite) => suite.hpke_setup_s(remote_key, info),
            Self::XWing(suite) => Ok(suite.hpke.setup_sender(remote_key, info, None)?),
        }
    }

    fn hpke_setup_r(
        &self,
        kem_output: &[u8],
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
    ) -> Outcome<Self::HpkeContextR> {
        match self {
            Self::Classical(suite) => suite.hpke_setup_r(kem_output, secret, public, info),
            Self::XWing(suite) => {
                Ok((suite.hpke).setup_receiver(kem_output, secret, public, info, None)?)
            }
        }
    }

    fn kem_derive(&self, ikm: &[u8]) -> Outcome<(HpkeSecretKey, HpkePublicKey)> {
        match self {
            Self::Classical(suite) => suite.kem_derive(ikm),
            // Not by `hpke.derive`: that hashes first, as the KEMs of RFC 9180 do and X-Wing does not.
            Self::XWing(suite) => suite.kem.generate_deterministic(ikm),
        }
    }

    fn kem_generate(&self) -> Outcome<(HpkeSecretKey, HpkePublicKey)> {
        match self {
            Self::Classical(suite) => suite.kem_generate(),
            Self::XWing(suite) => suite.kem.generate(),
        }
    }

    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Outcome<()> {
        match self {
            Self::Classical(suite) => suite.kem_public_key_validate(key),
            Self::XWing(suite) => suite.kem.public_key_validate(key),
        }
    }

    // -- the rest is suite 3's --

    fn hash(&self, data: &[u8]) -> Outcome<Vec<u8>> {
        self.all_but_hpke().hash(data)
    }

    fn mac(&self, key: &[u8], data: &[u8]) -> Outcome<Vec<u8>> {
        self.all_but_hpke().mac(key, data)
    }

    fn aead_seal(
        &self,
        key: &[u8],
        data: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Outcome<Vec<u8>> {
        self.all_but_hpke().aead_seal(key, data, aad, nonce)
    }

    fn aead_open(
        &self,
        key: &[u8],
        ciphertext: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Outcome<Zeroizing<Vec<u8>>> {
        self.all_but_hpke().aead_open(key, ciphertext, aad, nonce)
    }

    fn aead_key_size(&self) -> usize {
        self.all_but_hpke().aead_key_size()
    }

    fn aead_nonce_size(&self) -> usize {
        self.all_but_hpke().aead_nonce_size()
    }

    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Outcome<Zeroizing<Vec<u8>>> {
        self.all_but_hpke().kdf_extract(salt, ikm)
    }

    fn kdf_expand(&self, prk: &[u8], info: &[u8], len: usize) -> Outcome<Zeroizing<Vec<u8>>> {
        self.all_but_hpke().kdf_expand(prk, info, len)
    }

    fn kdf_extract_size(&self) -> usize {
        self.all_but_hpke().kdf_extract_size()
    }

    fn random_bytes(&self, out: &mut [u8]) -> Outcome<()> {
        self.all_but_hpke().random_bytes(out)
    }

    fn signature_key_generate(&self) -> Outcome<(SignatureSecretKey, SignaturePublicKey)> {
        self.all_but_hpke().signature_key_generate()
    }

    fn signature_key_derive_public(
        &self,
        secret: &SignatureSecretKey,
    ) -> Outcome<SignaturePublicKey> {
        self.all_but_hpke().signature_key_derive_public(secret)
    }

    fn sign(&self, secret: &SignatureSecretKey, data: &[u8]) -> Outcome<Vec<u8>> {
        self.all_but_hpke().sign(secret, data)
    }

    fn verify(&self, public: &SignaturePublicKey, signature: &[u8], data: &[u8]) -> Outcome<()> {
        self.all_but_hpke().verify(public, signature, data)
    }
}

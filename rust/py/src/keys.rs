//! Signature keys and the provider's generator.

use mlsrtc_core::Error;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::short_hex;
use crate::errors::Result;
use crate::given::{given, Bytes, Given};
use crate::secret::Secret;

/// A leaf signature key pair (RFC 9420 section 5.1.1). Printing shows the public half only.
///
/// Use one per membership: whoever holds it speaks for the leaf.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct SigningKey(pub(crate) mlsrtc_core::SigningKey);

#[pymethods]
impl SigningKey {
    /// A fresh key pair. suite: a number of `suites()`; another raises LocalProtocolError (``unsupported_suite``).
    #[staticmethod]
    #[pyo3(signature = (suite=Given::of(1)), text_signature = "(suite=1)")]
    fn generate(suite: Given<u16>) -> Result<Self> {
        given!(suite);
        Ok(Self(mlsrtc_core::SigningKey::generate(suite)?))
    }

    /// The key pair whose `save()` this is: for Ed25519 (suites 1, 3 and 0x4D) the 32-byte seed and then the 32-byte public
    /// key, for the NIST curves the private scalar. Raises LocalProtocolError (``bad_key``) if it is none of this suite.
    #[staticmethod]
    fn load(suite: Given<u16>, secret: Given<&Secret>) -> Result<Self> {
        given!(suite, secret);
        Ok(Self(mlsrtc_core::SigningKey::load(
            suite,
            &secret.value()?,
        )?))
    }

    /// The key pair of a 32-byte Ed25519 seed (RFC 8032 section 5.1.5), which is what other libraries keep as the private
    /// key. suite: 1, 3 or 0x4D; keys for the NIST curves have no seed, `load()` takes their scalar.
    ///
    /// Raises LocalProtocolError: ``bad_key`` if it has another length or the suite has no seeds, ``unsupported_suite``.
    #[staticmethod]
    #[pyo3(signature = (seed, suite=Given::of(1)), text_signature = "(seed, suite=1)")]
    fn from_seed(seed: Given<&Secret>, suite: Given<u16>) -> Result<Self> {
        given!(seed, suite);
        Ok(Self(mlsrtc_core::SigningKey::from_seed(
            suite,
            &seed.value()?,
        )?))
    }

    /// The public key as RFC 9420 section 5.1.1 encodes it: 32 bytes for Ed25519.
    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public())
    }

    /// The cipher suite the key belongs to.
    #[getter]
    fn suite(&self) -> u16 {
        self.0.suite()
    }

    /// A signature over `message` as it stands, without the label of RFC 9420's SignWithLabel: 64 bytes for Ed25519.
    fn sign<'py>(&self, py: Python<'py>, message: Given<Bytes<'_>>) -> Result<Bound<'py, PyBytes>> {
        given!(message);
        Ok(PyBytes::new(py, &self.0.sign(&message)?))
    }

    /// The private key, to be kept as a secret and given to `load()`.
    fn save(&self) -> Secret {
        self.0.save().into()
    }

    fn __repr__(&self) -> String {
        format!(
            "SigningKey(suite={}, public={}…)",
            self.0.suite(),
            short_hex(self.0.public())
        )
    }
}

/// Checks one signature of a cipher suite's signature scheme over `message` as it stands.
///
/// Raises RemoteProtocolError: ``bad_signature`` if it does not verify or the key is none, ``unsupported_suite`` for a suite
/// that is not in `suites()`.
#[pyfunction]
pub fn verify_signature(
    py: Python<'_>,
    suite: Given<u16>,
    public_key: Given<Bytes<'_>>,
    message: Given<Bytes<'_>>,
    signature: Given<Bytes<'_>>,
) -> Result<()> {
    given!(suite, public_key, message, signature);
    Ok(py.detach(|| mlsrtc_core::verify_signature(suite, &public_key, &message, &signature))?)
}

/// Random bytes from the cryptographic provider's generator.
///
/// length: at most 1048576 (LocalProtocolError ``bad_length``).
#[pyfunction]
pub fn random_bytes(length: Given<usize>) -> Result<Secret> {
    given!(length);
    const MOST: usize = 1 << 20;
    if length > MOST {
        return Err(
            Error::local("bad_length", "at most a mebibyte of random bytes at once").into(),
        );
    }
    Ok(mlsrtc_core::random_bytes(length)?.into())
}

/// The cipher suites the provider can do, by number (RFC 9420 section 17.1), smallest first.
///
/// post_quantum: also 0x004D, which is suite 3 with X-Wing (ML-KEM-768 and X25519) as its KEM: what is sealed stays sealed if
/// one of the two is broken, by a quantum computer or otherwise. Signatures are Ed25519. The number is OpenMLS's; none is
/// assigned yet, so groups of this suite may not outlive a release.
#[pyfunction]
#[pyo3(signature = (*, post_quantum=Given::of(false)), text_signature = "(*, post_quantum=False)")]
pub fn suites(py: Python<'_>, post_quantum: Given<bool>) -> PyResult<Bound<'_, PyTuple>> {
    given!(post_quantum);
    let mut numbers = mlsrtc_core::suites();
    if post_quantum {
        numbers.extend(mlsrtc_core::post_quantum_suites());
    }
    PyTuple::new(py, numbers)
}

//! Signature keys and the provider's generator.

use mlsrtc_core::Error;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::short_hex;
use crate::errors::Result;
use crate::secret::Secret;

/// A leaf signature key. Printing shows the public half only.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct SigningKey(pub(crate) mlsrtc_core::SigningKey);

#[pymethods]
impl SigningKey {
    #[staticmethod]
    #[pyo3(signature = (suite=1))]
    fn generate(suite: u16) -> Result<Self> {
        Ok(Self(mlsrtc_core::SigningKey::generate(suite)?))
    }

    #[staticmethod]
    fn load(suite: u16, secret: &Secret) -> Result<Self> {
        Ok(Self(mlsrtc_core::SigningKey::load(
            suite,
            &secret.value()?,
        )?))
    }

    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.public())
    }

    #[getter]
    fn suite(&self) -> u16 {
        self.0.suite()
    }

    fn sign<'py>(&self, py: Python<'py>, message: &[u8]) -> Result<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.sign(message)?))
    }

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

/// Checks one signature of a cipher suite's signature scheme.
#[pyfunction]
pub fn verify_signature(
    py: Python<'_>,
    suite: u16,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    Ok(py.detach(|| mlsrtc_core::verify_signature(suite, public_key, message, signature))?)
}

/// Random bytes from the provider's generator.
#[pyfunction]
pub fn random_bytes(length: usize) -> Result<Secret> {
    const MOST: usize = 1 << 20;
    if length > MOST {
        return Err(
            Error::local("bad_length", "at most a mebibyte of random bytes at once").into(),
        );
    }
    Ok(mlsrtc_core::random_bytes(length)?.into())
}

/// The cipher suites the provider can do.
#[pyfunction]
pub fn suites(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, mlsrtc_core::suites())
}

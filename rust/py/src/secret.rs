//! Secret bytes in Python: wiped when dropped or when told to, silent when printed.

use std::sync::{Mutex, PoisonError};

use mlsrtc_core::Error;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::Result;
use crate::given::{given, Bytes, Given};

/// Bytes that are wiped when they are no longer used.
///
/// Printing tells the length only, comparing takes the same time whatever differs, and there is no hash and no pickle.
/// What `expose()` returns is an ordinary `bytes` that Python may copy and never wipes: take it late and let it go early.
#[pyclass(frozen, eq, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Secret(Mutex<Option<mlsrtc_core::Secret>>);

impl Secret {
    pub(crate) fn value(&self) -> Result<mlsrtc_core::Secret> {
        let value = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Ok(value.ok_or_else(|| Error::local("wiped", "this secret was wiped"))?)
    }
}

impl From<mlsrtc_core::Secret> for Secret {
    fn from(value: mlsrtc_core::Secret) -> Self {
        Self(Mutex::new(Some(value)))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        matches!((self.value(), other.value()), (Ok(one), Ok(two)) if one == two)
    }
}

#[pymethods]
impl Secret {
    #[new]
    fn new(value: Given<Bytes<'_>>) -> Result<Self> {
        given!(value);
        Ok(mlsrtc_core::Secret::from(value.into_vec()).into())
    }

    /// The value as `bytes`. Raises LocalProtocolError after `wipe()`.
    fn expose<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.value()?.expose()))
    }

    /// Overwrites the value. It cannot be had again; doing it twice does no harm.
    fn wipe(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn __len__(&self) -> usize {
        self.value().map_or(0, |value| value.length())
    }

    fn __bool__(&self) -> bool {
        self.__len__() > 0
    }

    fn __repr__(&self) -> String {
        self.value().map_or_else(
            |_| "Secret(wiped)".to_owned(),
            |value| format!("Secret({} bytes)", value.length()),
        )
    }
}

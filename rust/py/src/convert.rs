//! Small conversions between Python's values and the core's.

use std::collections::HashMap;

use mlsrtc_core::Error;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::errors::Result;
use crate::secret::Secret;

/// A method's `psks` argument: external pre-shared keys by their identifier.
pub(crate) type PskArgument<'py> = Option<HashMap<Vec<u8>, PyRef<'py, Secret>>>;

/// An empty key is none: whoever mixes one in believes in a secret that everybody has.
pub(crate) fn psks(argument: PskArgument<'_>) -> Result<Vec<(Vec<u8>, mlsrtc_core::Secret)>> {
    argument
        .into_iter()
        .flatten()
        .map(|(id, key)| match key.value()? {
            key if key.length() == 0 => {
                Err(Error::local("bad_psk", "the value of a pre-shared key is empty").into())
            }
            key => Ok((id, key)),
        })
        .collect()
}

pub(crate) fn extensions<'py>(
    py: Python<'py>,
    list: &[(u16, Vec<u8>)],
) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(
        py,
        list.iter()
            .map(|(number, data)| (*number, PyBytes::new(py, data))),
    )
}

pub(crate) fn short_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

//! Small conversions from the core's values to Python's; the other way is `given`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

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

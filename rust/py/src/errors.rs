//! Errors of the core as the exceptions of `mlsrtc.errors`, which Python defines and Rust imports.

use mlsrtc_core::{Error, Fault};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyType};

static LOCAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static REMOTE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Finds the exceptions when the module is imported, so that no error can fail to be told later.
pub(crate) fn import(py: Python<'_>) -> PyResult<()> {
    LOCAL.import(py, "mlsrtc.errors", "LocalProtocolError")?;
    REMOTE.import(py, "mlsrtc.errors", "RemoteProtocolError")?;
    Ok(())
}

/// An error on its way to Python: of the core, or an exception already.
pub(crate) enum Raised {
    Core(Error),
    Python(PyErr),
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        match raised {
            Raised::Core(error) => {
                Python::attach(|py| raise(py, &error).unwrap_or_else(|failure| failure))
            }
            Raised::Python(error) => error,
        }
    }
}

fn raise(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    match error.fault {
        Fault::Local => {
            let class = LOCAL.import(py, "mlsrtc.errors", "LocalProtocolError")?;
            let text = format!("{}: {}", error.reason, error.detail);
            let told = [("reason", error.reason), ("section", error.section)].into_py_dict(py)?;
            Ok(PyErr::from_value(class.call((text,), Some(&told))?))
        }
        Fault::Remote => remote(py, error.reason, &error.detail, error.place, error.section),
    }
}

/// A `RemoteProtocolError` from its parts.
pub(crate) fn remote(
    py: Python<'_>,
    reason: &str,
    detail: &str,
    place: &str,
    section: &str,
) -> PyResult<PyErr> {
    let class = REMOTE.import(py, "mlsrtc.errors", "RemoteProtocolError")?;
    let places = [("where", place), ("section", section)].into_py_dict(py)?;
    Ok(PyErr::from_value(
        class.call((reason, detail), Some(&places))?,
    ))
}

pub(crate) type Result<T> = std::result::Result<T, Raised>;

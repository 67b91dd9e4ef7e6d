//! Members.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::{extensions, short_hex};
use crate::credential::Credential;

/// One occupied leaf of the tree, as frozen values.
#[pyclass(frozen, eq, hash, module = "mlsrtc._core")]
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The leaf's index, from 0 (RFC 9420 section 4.1).
    #[pyo3(get)]
    leaf: u32,
    credential: mlsrtc_core::Credential,
    signature_key: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl From<mlsrtc_core::Member> for Member {
    fn from(found: mlsrtc_core::Member) -> Self {
        let mlsrtc_core::Member {
            leaf,
            credential,
            signature_key,
            extensions,
        } = found;
        Self {
            leaf,
            credential,
            signature_key,
            extensions,
        }
    }
}

#[pymethods]
impl Member {
    /// The basic credential; empty if the credential is of another kind.
    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.credential.identity())
    }

    /// The credential.
    #[getter]
    fn credential(&self) -> Credential {
        self.credential.clone().into()
    }

    /// The public signature key.
    #[getter]
    fn signature_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.signature_key)
    }

    /// What the leaf carries: (type, contents) pairs. Nothing in them was checked but the leaf's own signature.
    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &self.extensions)
    }

    fn __repr__(&self) -> String {
        format!(
            "Member(leaf={}, signature_key={}…)",
            self.leaf,
            short_hex(&self.signature_key)
        )
    }
}

pub(crate) fn member_tuple<'py>(
    py: Python<'py>,
    list: &[mlsrtc_core::Member],
) -> PyResult<Bound<'py, PyTuple>> {
    let members: Vec<_> = list
        .iter()
        .map(|one| Bound::new(py, Member::from(one.clone())))
        .collect::<PyResult<_>>()?;
    PyTuple::new(py, members)
}

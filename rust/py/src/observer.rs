//! A group seen from outside.

use mlsrtc_core::{Engine, MlsRs};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::{rule, Successor};
use crate::errors::Result;
use crate::group::Member;

/// One epoch seen from outside.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Observer(<MlsRs as Engine>::Observer);

#[pymethods]
impl Observer {
    #[staticmethod]
    #[pyo3(signature = (group_info, tree=None, *, successor=None))]
    fn observe(
        py: Python<'_>,
        group_info: &[u8],
        tree: Option<&[u8]>,
        successor: Option<&Bound<'_, Successor>>,
    ) -> Result<Self> {
        let rule = rule(successor);
        Ok(Self(py.detach(|| MlsRs::observe(group_info, tree, rule))?))
    }

    fn follow(&self, py: Python<'_>, message: &[u8]) -> Result<Self> {
        Ok(Self(py.detach(|| MlsRs::follow(&self.0, message))?))
    }

    #[getter]
    fn group_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::observed_context(&self.0).group_id)
    }

    #[getter]
    fn epoch(&self) -> u64 {
        MlsRs::observed_context(&self.0).epoch
    }

    #[getter]
    fn suite(&self) -> u16 {
        MlsRs::observed_context(&self.0).suite
    }

    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::observed_context(&self.0).encoded)
    }

    #[getter]
    fn tree_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::observed_context(&self.0).tree_hash)
    }

    fn members(&self, py: Python<'_>) -> Vec<Member> {
        py.detach(|| MlsRs::observed_roster(&self.0))
            .into_iter()
            .map(Member::from)
            .collect()
    }

    fn tree<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::observed_tree(&self.0))?;
        Ok(PyBytes::new(py, &made))
    }

    fn __repr__(&self) -> String {
        format!("Observer(epoch={})", self.epoch())
    }
}

//! A group seen from outside.

use mlsrtc_core::{Engine, MlsRs};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::{rule, Successor};
use crate::errors::Result;
use crate::group::Member;

/// A group followed from outside, by its GroupInfo, tree and commits: who is in it and what its tree is, without any secret.
///
/// Like a Group it is one epoch and never changes. It checks signatures and the tree, and cannot check the tags that only
/// members can: a commit it follows may still be one that no member can open. Never take its word for a commit alone.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Observer(<MlsRs as Engine>::Observer);

#[pymethods]
impl Observer {
    /// Begins with a signed GroupInfo, and the tree unless it is inside. successor: the rule the members use.
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

    /// The epoch a commit leads to; with a proposal, the same epoch knowing it. Raises RemoteProtocolError.
    fn follow(&self, py: Python<'_>, message: &[u8]) -> Result<Self> {
        Ok(Self(py.detach(|| MlsRs::follow(&self.0, message))?))
    }

    /// The group's identifier.
    #[getter]
    fn group_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::observed_context(&self.0).group_id)
    }

    /// The number of the epoch.
    #[getter]
    fn epoch(&self) -> u64 {
        MlsRs::observed_context(&self.0).epoch
    }

    /// The cipher suite.
    #[getter]
    fn suite(&self) -> u16 {
        MlsRs::observed_context(&self.0).suite
    }

    /// GroupContext, TLS-encoded, as the members compute it.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::observed_context(&self.0).encoded)
    }

    /// The hash of the ratchet tree.
    #[getter]
    fn tree_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::observed_context(&self.0).tree_hash)
    }

    /// Everyone in the group, by leaf.
    fn members(&self, py: Python<'_>) -> Vec<Member> {
        py.detach(|| MlsRs::observed_roster(&self.0))
            .into_iter()
            .map(Member::from)
            .collect()
    }

    /// The ratchet tree, TLS-encoded.
    fn tree<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::observed_tree(&self.0))?;
        Ok(PyBytes::new(py, &made))
    }

    fn __repr__(&self) -> String {
        format!("Observer(epoch={})", self.epoch())
    }
}

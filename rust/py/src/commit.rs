//! What leads to another epoch, or to another group: commits made here, commits of others, and foundings.

use mlsrtc_core::{Committed, Engine, MlsRs};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::errors::Result;
use crate::group::{EngineGroup, Group};
use crate::member::member_tuple;
use crate::proposal::{proposed_tuple, ReInit};

/// A commit that was made here (RFC 9420 section 12.4), by a member or from outside.
///
/// Nothing has happened yet: the parent group is as it was, and `group` is the epoch this commit leads to. Save
/// `group.save()` before sending `message`; when the message comes back as the winner, go on with `group`: compare the bytes.
/// Staged by its author, a commit with a path, or an encrypted one, is refused (``own_message``), for its secrets are in
/// `group` alone; one without a path has none, and leads where `group` stands.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Commit(pub(crate) Committed<EngineGroup>);

#[pymethods]
impl Commit {
    /// MLSMessage with the commit: a PublicMessage, or a PrivateMessage if that was asked for.
    #[getter]
    fn message<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.message)
    }

    /// MLSMessage with one Welcome for all who are added, without the tree; None if nobody is.
    #[getter]
    fn welcome<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.welcome.as_ref().map(|bytes| PyBytes::new(py, bytes))
    }

    /// `group.group_info()`: of the epoch the commit leads to.
    #[getter]
    fn group_info<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::group_info(&self.0.group, false))?;
        Ok(PyBytes::new(py, &made))
    }

    /// `group.tree()`: of the epoch the commit leads to. Made when it is asked for.
    #[getter]
    fn tree<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::tree(&self.0.group))?;
        Ok(PyBytes::new(py, &made))
    }

    /// The epoch the commit leads to.
    #[getter]
    fn group(&self) -> Group {
        Group(self.0.group.clone())
    }

    /// The epoch the commit was made in; None for who joined by it. A private commit has used a message key: if there is to
    /// be another one in the same epoch, it is made from here.
    #[getter]
    fn parent(&self) -> Option<Group> {
        self.0.parent.clone().map(Group)
    }

    /// Proposals the group knew and the commit leaves out, since they are not valid, or not together with the others
    /// (RFC 9420 section 12.2).
    #[getter]
    fn left_out<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        proposed_tuple(py, &self.0.left_out)
    }

    fn __repr__(&self) -> String {
        format!(
            "Commit(to epoch {}, {} bytes)",
            MlsRs::context(&self.0.group).epoch,
            self.0.message.len()
        )
    }
}

/// Somebody else's commit, checked and processed on a clone: look at it, then `apply()` it or drop it.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Staged(pub(crate) <MlsRs as Engine>::Staged);

#[pymethods]
impl Staged {
    /// The leaf that committed; None for an external commit, whose author was no member.
    #[getter]
    fn sender(&self) -> Option<u32> {
        MlsRs::inspect(&self.0).sender
    }

    /// Whether its author joined by it.
    #[getter]
    fn external(&self) -> bool {
        MlsRs::inspect(&self.0).external
    }

    /// Who joins, as in the new epoch; the author of an external commit is among them.
    #[getter]
    fn added<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        member_tuple(py, &MlsRs::inspect(&self.0).added)
    }

    /// Who leaves, as in the old epoch.
    #[getter]
    fn removed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        member_tuple(py, &MlsRs::inspect(&self.0).removed)
    }

    /// Who stays and has a new leaf, as in the new epoch: the committer if there is a path, and who proposed an update.
    #[getter]
    fn updated<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        member_tuple(py, &MlsRs::inspect(&self.0).updated)
    }

    /// What the committer said in the clear beside the commit, covered by its signature.
    #[getter]
    fn authenticated_data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::inspect(&self.0).authenticated_data)
    }

    /// All it covers: what it carries itself, and what it names by reference.
    #[getter]
    fn proposals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        proposed_tuple(py, &MlsRs::inspect(&self.0).proposals)
    }

    /// What the group knew and the commit does not cover. It is forgotten with the epoch; propose it again if you want it.
    #[getter]
    fn left_out<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        proposed_tuple(py, &MlsRs::inspect(&self.0).left_out)
    }

    /// What is to follow this group, if the commit ends it (RFC 9420 section 11.2); else None. Look before you apply: its
    /// suite may be one that you do not have (`suites()`), and then nothing follows for you.
    #[getter]
    fn reinit(&self) -> Option<ReInit> {
        MlsRs::inspect(&self.0).reinit.clone().map(ReInit)
    }

    /// Whether it removes us. What follows cannot be seen: `added` and `updated` are empty, and `apply()` raises.
    #[getter]
    fn removes_us(&self) -> bool {
        MlsRs::inspect(&self.0).removes_us
    }

    /// The epoch the commit leads to. Raises LocalProtocolError (``removed``) if it removes us.
    fn apply(&self) -> Result<Group> {
        Ok(Group(MlsRs::apply(&self.0)?))
    }

    fn __repr__(&self) -> String {
        let changes = MlsRs::inspect(&self.0);
        let sender = changes
            .sender
            .map_or_else(|| "outside".to_owned(), |leaf| format!("leaf {leaf}"));
        let (added, removed) = (changes.added.len(), changes.removed.len());
        format!("Staged(from {sender}, {added} added, {removed} removed)")
    }
}

/// A group that was made on another one, by `Group.branch()` or `Group.reinitialize()`.
///
/// Save `group.save()` before sending `welcome` and `tree` to the others.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Founded(pub(crate) mlsrtc_core::Founded<EngineGroup>);

#[pymethods]
impl Founded {
    /// MLSMessage with one Welcome for all the others, without the tree; None if there are none.
    #[getter]
    fn welcome<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.welcome.as_ref().map(|bytes| PyBytes::new(py, bytes))
    }

    /// `group.tree()`: the others need it beside the Welcome.
    #[getter]
    fn tree<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::tree(&self.0.group))?;
        Ok(PyBytes::new(py, &made))
    }

    /// The new group, at its epoch 1.
    #[getter]
    fn group(&self) -> Group {
        Group(self.0.group.clone())
    }

    fn __repr__(&self) -> String {
        format!("Founded({:?})", self.0.group)
    }
}

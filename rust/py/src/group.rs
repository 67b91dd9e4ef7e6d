//! Groups, commits, staged commits and members.

use mlsrtc_core::{CommitRequest, Committed, Engine, MlsRs};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::{extensions, short_hex, PskArgument};
use crate::errors::Result;
use crate::secret::Secret;

type EngineGroup = <MlsRs as Engine>::Group;

/// One occupied leaf.
#[pyclass(frozen, eq, hash, module = "mlsrtc._core")]
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Member {
    #[pyo3(get)]
    leaf: u32,
    identity: Vec<u8>,
    signature_key: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl From<mlsrtc_core::Member> for Member {
    fn from(found: mlsrtc_core::Member) -> Self {
        let mlsrtc_core::Member {
            leaf,
            identity,
            signature_key,
            extensions,
        } = found;
        Self {
            leaf,
            identity,
            signature_key,
            extensions,
        }
    }
}

#[pymethods]
impl Member {
    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.identity)
    }

    #[getter]
    fn signature_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.signature_key)
    }

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

/// What a commit made.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Commit(pub(crate) Committed<EngineGroup>);

#[pymethods]
impl Commit {
    #[getter]
    fn message<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.message)
    }

    #[getter]
    fn welcome<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.welcome.as_ref().map(|bytes| PyBytes::new(py, bytes))
    }

    #[getter]
    fn group_info<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::group_info(&self.0.group, false))?;
        Ok(PyBytes::new(py, &made))
    }

    #[getter]
    fn tree<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::tree(&self.0.group))?;
        Ok(PyBytes::new(py, &made))
    }

    #[getter]
    fn group(&self) -> Group {
        Group(self.0.group.clone())
    }

    fn __repr__(&self) -> String {
        format!(
            "Commit(to epoch {}, {} bytes)",
            MlsRs::context(&self.0.group).epoch,
            self.0.message.len()
        )
    }
}

/// A commit looked at.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Staged(<MlsRs as Engine>::Staged);

#[pymethods]
impl Staged {
    #[getter]
    fn sender(&self) -> Option<u32> {
        MlsRs::inspect(&self.0).sender
    }

    #[getter]
    fn external(&self) -> bool {
        MlsRs::inspect(&self.0).external
    }

    #[getter]
    fn added<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        member_tuple(py, &MlsRs::inspect(&self.0).added)
    }

    #[getter]
    fn removed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        member_tuple(py, &MlsRs::inspect(&self.0).removed)
    }

    #[getter]
    fn updated<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        member_tuple(py, &MlsRs::inspect(&self.0).updated)
    }

    #[getter]
    fn authenticated_data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::inspect(&self.0).authenticated_data)
    }

    #[getter]
    fn removes_us(&self) -> bool {
        MlsRs::inspect(&self.0).removes_us
    }

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

/// One member at one epoch.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Group(pub(crate) EngineGroup);

#[pymethods]
impl Group {
    #[getter]
    fn group_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::context(&self.0).group_id)
    }

    #[getter]
    fn epoch(&self) -> u64 {
        MlsRs::context(&self.0).epoch
    }

    #[getter]
    fn suite(&self) -> u16 {
        MlsRs::context(&self.0).suite
    }

    #[getter]
    fn own_leaf(&self) -> u32 {
        MlsRs::own_leaf(&self.0)
    }

    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::context(&self.0).encoded)
    }

    #[getter]
    fn confirmation_tag<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let tag = py.detach(|| MlsRs::confirmation_tag(&self.0))?;
        Ok(PyBytes::new(py, &tag))
    }

    #[getter]
    fn tree_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::context(&self.0).tree_hash)
    }

    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &MlsRs::context(&self.0).extensions)
    }

    fn epoch_authenticator(&self) -> Result<Secret> {
        Ok(MlsRs::epoch_authenticator(&self.0)?.into())
    }

    fn members(&self, py: Python<'_>) -> Vec<Member> {
        py.detach(|| MlsRs::roster(&self.0))
            .into_iter()
            .map(Member::from)
            .collect()
    }

    fn tree<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::tree(&self.0))?;
        Ok(PyBytes::new(py, &made))
    }

    #[pyo3(signature = (*, with_tree=false))]
    fn group_info<'py>(&self, py: Python<'py>, with_tree: bool) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::group_info(&self.0, with_tree))?;
        Ok(PyBytes::new(py, &made))
    }

    fn export(&self, label: &str, context: &[u8], length: usize) -> Result<Secret> {
        Ok(MlsRs::export(&self.0, label.as_bytes(), context, length)?.into())
    }

    fn sender_keys(
        &self,
        py: Python<'_>,
        label: &str,
        context: &[u8],
        infos: Vec<Vec<u8>>,
    ) -> Result<Vec<Secret>> {
        let infos: Vec<&[u8]> = infos.iter().map(Vec::as_slice).collect();
        let keys = py.detach(|| MlsRs::sender_keys(&self.0, label.as_bytes(), context, &infos))?;
        Ok(keys.into_iter().map(Secret::from).collect())
    }

    #[pyo3(signature = (*, add=Vec::new(), remove=Vec::new(), path=false, authenticated_data=b"".as_slice(), now=None))]
    fn commit(
        &self,
        py: Python<'_>,
        add: Vec<Vec<u8>>,
        remove: Vec<u32>,
        path: bool,
        authenticated_data: &[u8],
        now: Option<u64>,
    ) -> Result<Commit> {
        let add: Vec<&[u8]> = add.iter().map(Vec::as_slice).collect();
        let request = CommitRequest {
            add: &add,
            remove: &remove,
            path,
            authenticated_data,
            now,
        };
        Ok(Commit(py.detach(|| MlsRs::commit(&self.0, &request))?))
    }

    #[pyo3(signature = (message, *, psks=None))]
    fn stage(&self, py: Python<'_>, message: &[u8], psks: PskArgument<'_>) -> Result<Staged> {
        let keys = crate::convert::psks(psks)?;
        Ok(Staged(py.detach(|| MlsRs::stage(&self.0, message, &keys))?))
    }

    fn with_proposal(&self, py: Python<'_>, message: &[u8]) -> Result<Self> {
        Ok(Self(py.detach(|| MlsRs::propose(&self.0, message))?))
    }

    fn save(&self, py: Python<'_>) -> Result<Secret> {
        Ok(py.detach(|| MlsRs::save(&self.0))?.into())
    }

    fn __repr__(&self) -> String {
        let context = MlsRs::context(&self.0);
        format!(
            "Group(id={}…, epoch={}, own_leaf={})",
            short_hex(&context.group_id),
            context.epoch,
            self.own_leaf()
        )
    }
}

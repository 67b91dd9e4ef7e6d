//! The reader behind `inspect`, in Python: frozen values that hold what was read. No logic but the shape of values.

use mlsrtc_core::reader as core;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

/// The refusal as `mlsrtc.errors.RemoteProtocolError`, which Python defines (as pyca/cryptography does it).
fn to_python(py: Python<'_>, refused: &core::Refused) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let class = py.import("mlsrtc.errors")?.getattr("RemoteProtocolError")?;
        let keywords = PyDict::new(py);
        keywords.set_item("where", &refused.place)?;
        keywords.set_item("section", refused.reason.section())?;
        let value = class
            .cast_into::<PyType>()?
            .call((refused.reason.slug(),), Some(&keywords))?;
        Ok(PyErr::from_value(
            value.cast_into::<PyBaseException>()?.into_any(),
        ))
    };
    build().unwrap_or_else(|error| error)
}

/// Runs what hashes or verifies without the GIL, and maps its refusal.
fn apart<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, core::Refused> + Send,
) -> PyResult<T> {
    py.detach(work).map_err(|refused| to_python(py, &refused))
}

fn extensions<'py>(py: Python<'py>, list: &[core::Extension]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(
        py,
        list.iter()
            .map(|extension| (extension.extension_type, extension.body.as_slice())),
    )
}

/// What a LeafNode says, alone or in the KeyPackage that it came in.
#[derive(Debug)]
#[pyclass(frozen, module = "mlsrtc._core")]
pub struct LeafFacts {
    leaf: core::LeafFacts,
    key_package: Option<core::KeyPackageFacts>,
}

impl From<core::LeafFacts> for LeafFacts {
    fn from(leaf: core::LeafFacts) -> Self {
        Self {
            leaf,
            key_package: None,
        }
    }
}

impl From<core::KeyPackageFacts> for LeafFacts {
    fn from(key_package: core::KeyPackageFacts) -> Self {
        Self {
            leaf: key_package.leaf.clone(),
            key_package: Some(key_package),
        }
    }
}

#[pymethods]
impl LeafFacts {
    #[getter]
    fn identity(&self) -> Option<&[u8]> {
        match &self.leaf.credential {
            core::Credential::Basic(identity) => Some(identity),
            core::Credential::Other(_) => None,
        }
    }

    #[getter]
    fn credential_type(&self) -> u16 {
        match &self.leaf.credential {
            core::Credential::Basic(_) => 1,
            core::Credential::Other(kind) => *kind,
        }
    }

    #[getter]
    fn signature_key(&self) -> &[u8] {
        &self.leaf.signature_key
    }

    #[getter]
    fn encryption_key(&self) -> &[u8] {
        &self.leaf.encryption_key
    }

    #[getter]
    fn source(&self) -> &'static str {
        self.leaf.source.name()
    }

    #[getter]
    fn lifetime(&self) -> Option<(u64, u64)> {
        match self.leaf.source {
            core::LeafSource::KeyPackage {
                not_before,
                not_after,
            } => Some((not_before, not_after)),
            core::LeafSource::Update | core::LeafSource::Commit => None,
        }
    }

    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &self.leaf.extensions)
    }

    #[getter]
    fn suite(&self) -> Option<u16> {
        self.key_package.as_ref().map(|package| package.suite)
    }

    #[getter]
    fn init_key(&self) -> Option<&[u8]> {
        self.key_package
            .as_ref()
            .map(|package| package.init_key.as_slice())
    }

    #[getter]
    fn reference(&self, py: Python<'_>) -> PyResult<Option<Vec<u8>>> {
        apart(py, || {
            self.key_package
                .as_ref()
                .map(core::KeyPackageFacts::reference)
                .transpose()
        })
    }

    #[pyo3(signature = (suite=None, group_id=None, leaf_index=None))]
    fn verify(
        &self,
        py: Python<'_>,
        suite: Option<u16>,
        group_id: Option<&[u8]>,
        leaf_index: Option<u32>,
    ) -> PyResult<()> {
        apart(py, || match &self.key_package {
            Some(package) if suite.is_none_or(|wanted| wanted == package.suite) => package.verify(),
            Some(_) => Err(core::Refused::unsupported_suite("key_package.cipher_suite")),
            None => {
                let suite =
                    suite.ok_or_else(|| core::Refused::unsupported_suite("leaf_node.suite"))?;
                self.leaf.verify(suite, group_id.zip(leaf_index))
            }
        })
    }

    fn tree_hash(&self, py: Python<'_>, suite: u16, leaf_index: u32) -> PyResult<Vec<u8>> {
        apart(py, || self.leaf.tree_hash(suite, leaf_index))
    }

    fn __repr__(&self) -> String {
        let keys = self.leaf.signature_key.len();
        format!(
            "<LeafFacts source={} signature_key={keys} bytes>",
            self.leaf.source.name()
        )
    }
}

/// What a commit says.
#[derive(Debug)]
#[pyclass(frozen, module = "mlsrtc._core")]
pub struct CommitFacts {
    commit: core::CommitFacts,
    adds: Py<PyTuple>,
    path_leaf: Option<Py<LeafFacts>>,
}

#[pymethods]
impl CommitFacts {
    #[getter]
    fn group_id(&self) -> &[u8] {
        &self.commit.group_id
    }

    #[getter]
    fn epoch(&self) -> u64 {
        self.commit.epoch
    }

    #[getter]
    fn sender(&self) -> Option<u32> {
        match self.commit.sender {
            core::Sender::Member(index) => Some(index),
            core::Sender::NewMember => None,
        }
    }

    #[getter]
    fn external(&self) -> bool {
        self.commit.sender == core::Sender::NewMember
    }

    #[getter]
    fn authenticated_data(&self) -> &[u8] {
        &self.commit.authenticated_data
    }

    #[getter]
    fn adds(&self, py: Python<'_>) -> Py<PyTuple> {
        self.adds.clone_ref(py)
    }

    #[getter]
    fn removes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.commit.removes)
    }

    #[getter]
    fn external_inits(&self) -> u32 {
        self.commit.external_inits
    }

    #[getter]
    fn other_proposals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.commit.other_proposals)
    }

    #[getter]
    fn path_leaf(&self, py: Python<'_>) -> Option<Py<LeafFacts>> {
        self.path_leaf.as_ref().map(|leaf| leaf.clone_ref(py))
    }

    #[getter]
    fn path_nodes(&self) -> Option<u32> {
        self.commit.path.as_ref().map(|path| path.nodes)
    }

    #[getter]
    fn confirmation_tag(&self) -> &[u8] {
        &self.commit.confirmation_tag
    }

    fn verify(&self, py: Python<'_>, context: &[u8], signature_key: &[u8]) -> PyResult<()> {
        apart(py, || self.commit.verify(context, signature_key))
    }

    fn transcript(
        &self,
        py: Python<'_>,
        suite: u16,
        interim: &[u8],
    ) -> PyResult<(Vec<u8>, Vec<u8>)> {
        apart(py, || self.commit.transcript(suite, interim))
    }

    fn __repr__(&self) -> String {
        let commit = &self.commit;
        format!(
            "<CommitFacts epoch={} sender={:?} adds={} removes={} path={}>",
            commit.epoch,
            commit.sender,
            commit.adds.len(),
            commit.removes.len(),
            commit.path.is_some(),
        )
    }
}

/// What a GroupInfo says.
#[derive(Debug)]
#[pyclass(frozen, module = "mlsrtc._core")]
pub struct GroupInfoFacts(core::GroupInfoFacts);

#[pymethods]
impl GroupInfoFacts {
    #[getter]
    fn context(&self) -> &[u8] {
        &self.0.context.bytes
    }

    #[getter]
    fn suite(&self) -> u16 {
        self.0.context.suite
    }

    #[getter]
    fn group_id(&self) -> &[u8] {
        &self.0.context.group_id
    }

    #[getter]
    fn epoch(&self) -> u64 {
        self.0.context.epoch
    }

    #[getter]
    fn tree_hash(&self) -> &[u8] {
        &self.0.context.tree_hash
    }

    #[getter]
    fn confirmed_transcript_hash(&self) -> &[u8] {
        &self.0.context.confirmed_transcript_hash
    }

    #[getter]
    fn context_extensions(&self) -> &[u8] {
        &self.0.context.extensions
    }

    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &self.0.extensions)
    }

    #[getter]
    fn confirmation_tag(&self) -> &[u8] {
        &self.0.confirmation_tag
    }

    #[getter]
    fn signer(&self) -> u32 {
        self.0.signer
    }

    #[getter]
    fn external_pub(&self) -> Option<&[u8]> {
        self.0.external_pub.as_deref()
    }

    #[getter]
    fn tree(&self) -> Option<&[u8]> {
        self.0.tree.as_deref()
    }

    fn verify(&self, py: Python<'_>, signature_key: &[u8]) -> PyResult<()> {
        apart(py, || self.0.verify(signature_key))
    }

    fn __repr__(&self) -> String {
        let context = &self.0.context;
        format!(
            "<GroupInfoFacts suite={} epoch={} signer={}>",
            context.suite, context.epoch, self.0.signer
        )
    }
}

/// For whom a Welcome is.
#[derive(Debug)]
#[pyclass(frozen, module = "mlsrtc._core")]
pub struct WelcomeFacts(core::WelcomeFacts);

#[pymethods]
impl WelcomeFacts {
    #[getter]
    fn suite(&self) -> u16 {
        self.0.suite
    }

    #[getter]
    fn references<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.references.iter().map(Vec::as_slice))
    }

    fn __repr__(&self) -> String {
        format!(
            "<WelcomeFacts suite={} joiners={}>",
            self.0.suite,
            self.0.references.len()
        )
    }
}

#[pyfunction]
pub fn inspect_commit(py: Python<'_>, message: &[u8]) -> PyResult<CommitFacts> {
    let mut commit = apart(py, || core::inspect_commit(message))?;
    let adds = std::mem::take(&mut commit.adds)
        .into_iter()
        .map(|package| Py::new(py, LeafFacts::from(package)))
        .collect::<PyResult<Vec<_>>>()?;
    let path_leaf = commit
        .path
        .as_ref()
        .map(|path| Py::new(py, LeafFacts::from(path.leaf.clone())))
        .transpose()?;
    Ok(CommitFacts {
        commit,
        adds: PyTuple::new(py, adds)?.unbind(),
        path_leaf,
    })
}

#[pyfunction]
pub fn inspect_group_info(py: Python<'_>, message: &[u8]) -> PyResult<GroupInfoFacts> {
    apart(py, || core::inspect_group_info(message)).map(GroupInfoFacts)
}

#[pyfunction]
pub fn inspect_key_package(py: Python<'_>, message: &[u8]) -> PyResult<LeafFacts> {
    apart(py, || core::inspect_key_package(message)).map(LeafFacts::from)
}

#[pyfunction]
pub fn inspect_welcome(py: Python<'_>, message: &[u8]) -> PyResult<WelcomeFacts> {
    apart(py, || core::inspect_welcome(message)).map(WelcomeFacts)
}

#[pyfunction]
pub fn inspect_tree<'py>(py: Python<'py>, tree: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let leaves = PyDict::new(py);
    for (index, leaf) in apart(py, || core::inspect_tree(tree))? {
        leaves.set_item(index, Py::new(py, LeafFacts::from(leaf))?)?;
    }
    Ok(leaves)
}

#[pyfunction]
pub fn interim_transcript_hash(
    py: Python<'_>,
    suite: u16,
    confirmed: &[u8],
    confirmation_tag: &[u8],
) -> PyResult<Vec<u8>> {
    apart(py, || {
        core::interim_transcript_hash(suite, confirmed, confirmation_tag)
    })
}

#[pyfunction]
pub fn vector_length(py: Python<'_>, header: &[u8]) -> PyResult<usize> {
    apart(py, || core::vector_length(header))
}

//! The reader behind `inspect`, in Python: frozen values that hold what was read. No logic but the shape of values.

use mlsrtc_core::reader as core;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors;
use crate::given::{given, Bytes, Given};

fn to_python(py: Python<'_>, refused: &core::Refused) -> PyErr {
    let (reason, section) = (refused.reason.slug(), refused.reason.section());
    errors::remote(py, reason, "", &refused.place, section).unwrap_or_else(|error| error)
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

/// What a LeafNode says (RFC 9420 section 7.2), alone or in its KeyPackage. Form only, until `verify`.
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
    /// Of a basic credential; None for every other kind.
    #[getter]
    fn identity(&self) -> Option<&[u8]> {
        match &self.leaf.credential {
            core::Credential::Basic(identity) => Some(identity),
            core::Credential::Other(_) => None,
        }
    }

    /// 1 for a basic credential, 2 for X.509 (RFC 9420 section 17.5).
    #[getter]
    fn credential_type(&self) -> u16 {
        match &self.leaf.credential {
            core::Credential::Basic(_) => 1,
            core::Credential::Other(kind) => *kind,
        }
    }

    /// Public, in the form of the suite: 32 bytes for Ed25519.
    #[getter]
    fn signature_key(&self) -> &[u8] {
        &self.leaf.signature_key
    }

    /// Public HPKE key of the leaf.
    #[getter]
    fn encryption_key(&self) -> &[u8] {
        &self.leaf.encryption_key
    }

    /// How the leaf came into the tree: key_package, update or commit.
    #[getter]
    fn source(&self) -> &'static str {
        self.leaf.source.name()
    }

    /// not_before, not_after in seconds since the epoch, of source key_package.
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

    /// (type, body), no type twice.
    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &self.leaf.extensions)
    }

    /// Of the KeyPackage it came in; None for a leaf that stood alone.
    #[getter]
    fn suite(&self) -> Option<u16> {
        self.key_package.as_ref().map(|package| package.suite)
    }

    /// Of the KeyPackage it came in.
    #[getter]
    fn init_key(&self) -> Option<&[u8]> {
        self.key_package
            .as_ref()
            .map(|package| package.init_key.as_slice())
    }

    /// KeyPackageRef of its KeyPackage (RFC 9420 section 5.2): how a Welcome names its joiner.
    #[getter]
    fn reference(&self, py: Python<'_>) -> PyResult<Option<Vec<u8>>> {
        apart(py, || {
            self.key_package
                .as_ref()
                .map(core::KeyPackageFacts::reference)
                .transpose()
        })
    }

    /// Checks the signature of the leaf, and of the KeyPackage if it came in one.
    ///
    /// A leaf that stood alone needs `suite`, and if its source is update or commit also `group_id` and
    /// `leaf_index`, which it signs too. Raises RemoteProtocolError: bad_signature, wrong_leaf_source,
    /// repeated_key, unsupported_suite.
    #[pyo3(signature = (suite=None, group_id=None, leaf_index=None))]
    fn verify(
        &self,
        py: Python<'_>,
        suite: Option<Given<u16>>,
        group_id: Option<Given<Bytes<'_>>>,
        leaf_index: Option<Given<u32>>,
    ) -> PyResult<()> {
        given!(suite, group_id, leaf_index);
        apart(py, || match &self.key_package {
            Some(package) if suite.is_none_or(|wanted| wanted == package.suite) => package.verify(),
            Some(_) => Err(core::Refused::unsupported_suite("key_package.cipher_suite")),
            None => {
                let suite =
                    suite.ok_or_else(|| core::Refused::unsupported_suite("leaf_node.suite"))?;
                self.leaf.verify(suite, group_id.as_deref().zip(leaf_index))
            }
        })
    }

    /// The tree hash (RFC 9420 section 7.8) of a tree whose only node is this leaf.
    fn tree_hash(
        &self,
        py: Python<'_>,
        suite: Given<u16>,
        leaf_index: Given<u32>,
    ) -> PyResult<Vec<u8>> {
        given!(suite, leaf_index);
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

/// What a commit in a PublicMessage says (RFC 9420 sections 6 and 12.4). Form only, until `verify`.
#[derive(Debug)]
#[pyclass(frozen, module = "mlsrtc._core")]
pub struct CommitFacts {
    commit: core::CommitFacts,
    adds: Py<PyTuple>,
    path_leaf: Option<Py<LeafFacts>>,
}

#[pymethods]
impl CommitFacts {
    /// Of the group it was made in.
    #[getter]
    fn group_id(&self) -> &[u8] {
        &self.commit.group_id
    }

    /// The epoch it was made in; it leads to the next.
    #[getter]
    fn epoch(&self) -> u64 {
        self.commit.epoch
    }

    /// Leaf index; None for an external commit.
    #[getter]
    fn sender(&self) -> Option<u32> {
        match self.commit.sender {
            core::Sender::Member(index) => Some(index),
            core::Sender::NewMember => None,
        }
    }

    /// Whether a joiner made it, who brings its own leaf.
    #[getter]
    fn external(&self) -> bool {
        self.commit.sender == core::Sender::NewMember
    }

    /// What the application said beside the commit, under its signature.
    #[getter]
    fn authenticated_data(&self) -> &[u8] {
        &self.commit.authenticated_data
    }

    /// In the order of the commit, which is the order in which leaves are filled.
    #[getter]
    fn adds(&self, py: Python<'_>) -> Py<PyTuple> {
        self.adds.clone_ref(py)
    }

    /// Leaf indexes, in the order of the commit.
    #[getter]
    fn removes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.commit.removes)
    }

    /// How many ExternalInit proposals it holds.
    #[getter]
    fn external_inits(&self) -> u32 {
        self.commit.external_inits
    }

    /// Types of proposals other than Add, Remove and ExternalInit; one by reference counts as type 0.
    #[getter]
    fn other_proposals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.commit.other_proposals)
    }

    /// The author's new leaf, if the commit has a path.
    #[getter]
    fn path_leaf(&self, py: Python<'_>) -> Option<Py<LeafFacts>> {
        self.path_leaf.as_ref().map(|leaf| leaf.clone_ref(py))
    }

    /// How many nodes above the leaf the path refreshes.
    #[getter]
    fn path_nodes(&self) -> Option<usize> {
        self.commit.path.as_ref().map(|path| path.keys.len())
    }

    /// Shows the members that its author knows the secrets of the epoch it leads to.
    #[getter]
    fn confirmation_tag(&self) -> &[u8] {
        &self.commit.confirmation_tag
    }

    /// Checks the signature over the commit and the TLS-encoded GroupContext of the epoch it was made in
    /// (RFC 9420 section 6.1). Raises RemoteProtocolError: bad_signature, unsupported_suite.
    fn verify(
        &self,
        py: Python<'_>,
        context: Given<Bytes<'_>>,
        signature_key: Given<Bytes<'_>>,
    ) -> PyResult<()> {
        given!(context, signature_key);
        apart(py, || self.commit.verify(&context, &signature_key))
    }

    /// The confirmed and the interim transcript hash after this commit, from the interim hash before
    /// (RFC 9420 section 8.2).
    fn transcript(
        &self,
        py: Python<'_>,
        suite: Given<u16>,
        interim: Given<Bytes<'_>>,
    ) -> PyResult<(Vec<u8>, Vec<u8>)> {
        given!(suite, interim);
        apart(py, || self.commit.transcript(suite, &interim))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let commit = &self.commit;
        format!(
            "<CommitFacts epoch={} sender={:?} adds={} removes={} path={}>",
            commit.epoch,
            commit.sender,
            self.adds.bind(py).len(),
            commit.removes.len(),
            commit.path.is_some(),
        )
    }
}

/// What a GroupInfo says (RFC 9420 section 12.4.3). Form only, until `verify`.
#[derive(Debug)]
#[pyclass(frozen, module = "mlsrtc._core")]
pub struct GroupInfoFacts(core::GroupInfoFacts);

#[pymethods]
impl GroupInfoFacts {
    /// The TLS-encoded GroupContext, as received.
    #[getter]
    fn context(&self) -> &[u8] {
        &self.0.context.bytes
    }

    /// Cipher suite (RFC 9420 section 17.1).
    #[getter]
    fn suite(&self) -> u16 {
        self.0.context.suite
    }

    /// Of the group.
    #[getter]
    fn group_id(&self) -> &[u8] {
        &self.0.context.group_id
    }

    /// The epoch it describes.
    #[getter]
    fn epoch(&self) -> u64 {
        self.0.context.epoch
    }

    /// Of the ratchet tree in this epoch (RFC 9420 section 7.8).
    #[getter]
    fn tree_hash(&self) -> &[u8] {
        &self.0.context.tree_hash
    }

    /// Empty in epoch 0 (RFC 9420 section 8.2).
    #[getter]
    fn confirmed_transcript_hash(&self) -> &[u8] {
        &self.0.context.confirmed_transcript_hash
    }

    /// The list of the GroupContext as received, with its length.
    #[getter]
    fn context_extensions(&self) -> &[u8] {
        &self.0.context.extensions
    }

    /// Of the GroupInfo itself: (type, body).
    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &self.0.extensions)
    }

    /// Of the commit that led to this epoch.
    #[getter]
    fn confirmation_tag(&self) -> &[u8] {
        &self.0.confirmation_tag
    }

    /// Leaf index.
    #[getter]
    fn signer(&self) -> u32 {
        self.0.signer
    }

    /// The public key for external commits, if it is offered.
    #[getter]
    fn external_pub(&self) -> Option<&[u8]> {
        self.0.external_pub.as_deref()
    }

    /// The ratchet_tree extension, if the tree travels inside; `inspect_tree` reads it.
    #[getter]
    fn tree(&self) -> Option<&[u8]> {
        self.0.tree.as_deref()
    }

    /// Checks the signer's signature. Raises RemoteProtocolError: bad_signature, unsupported_suite.
    fn verify(&self, py: Python<'_>, signature_key: Given<Bytes<'_>>) -> PyResult<()> {
        given!(signature_key);
        apart(py, || self.0.verify(&signature_key))
    }

    fn __repr__(&self) -> String {
        let context = &self.0.context;
        format!(
            "<GroupInfoFacts suite={} epoch={} signer={}>",
            context.suite, context.epoch, self.0.signer
        )
    }
}

/// For whom a Welcome is (RFC 9420 section 12.4.3.1).
#[derive(Debug)]
#[pyclass(frozen, module = "mlsrtc._core")]
pub struct WelcomeFacts(core::WelcomeFacts);

#[pymethods]
impl WelcomeFacts {
    /// Cipher suite (RFC 9420 section 17.1).
    #[getter]
    fn suite(&self) -> u16 {
        self.0.suite
    }

    /// KeyPackageRef of each joiner.
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

/// Reads an MLSMessage with a commit as PublicMessage. Raises RemoteProtocolError with the reason
/// (truncated, trailing_bytes, length_not_minimal, length_reserved, oversized, unsupported_version,
/// wrong_message_type, not_a_commit, wrong_sender, unknown_value, repeated_extension) and the place in
/// `where`.
#[pyfunction]
pub fn inspect_commit(py: Python<'_>, message: Given<Bytes<'_>>) -> PyResult<CommitFacts> {
    given!(message);
    let mut commit = apart(py, || core::inspect_commit(&message))?;
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

/// Reads an MLSMessage with a GroupInfo. Raises RemoteProtocolError as `inspect_commit`.
#[pyfunction]
pub fn inspect_group_info(py: Python<'_>, message: Given<Bytes<'_>>) -> PyResult<GroupInfoFacts> {
    given!(message);
    apart(py, || core::inspect_group_info(&message)).map(GroupInfoFacts)
}

/// Reads an MLSMessage with a KeyPackage. Raises RemoteProtocolError as `inspect_commit`.
#[pyfunction]
pub fn inspect_key_package(py: Python<'_>, message: Given<Bytes<'_>>) -> PyResult<LeafFacts> {
    given!(message);
    apart(py, || core::inspect_key_package(&message)).map(LeafFacts::from)
}

/// Reads an MLSMessage with a Welcome. Raises RemoteProtocolError as `inspect_commit`.
#[pyfunction]
pub fn inspect_welcome(py: Python<'_>, message: Given<Bytes<'_>>) -> PyResult<WelcomeFacts> {
    given!(message);
    apart(py, || core::inspect_welcome(&message)).map(WelcomeFacts)
}

/// The leaves of a ratchet_tree extension by index (RFC 9420 section 12.4.3.3). Hashes are not checked.
/// Raises RemoteProtocolError as `inspect_commit`, and bad_tree.
#[pyfunction]
pub fn inspect_tree<'py>(py: Python<'py>, tree: Given<Bytes<'_>>) -> PyResult<Bound<'py, PyDict>> {
    given!(tree);
    let leaves = PyDict::new(py);
    for (index, leaf) in apart(py, || core::inspect_tree(&tree))? {
        leaves.set_item(index, Py::new(py, LeafFacts::from(leaf))?)?;
    }
    Ok(leaves)
}

/// RFC 9420 section 8.2, for the epoch whose confirmed transcript hash and confirmation tag these are. The
/// confirmed hash of epoch 0 is empty. Raises RemoteProtocolError("unsupported_suite").
#[pyfunction]
pub fn interim_transcript_hash(
    py: Python<'_>,
    suite: Given<u16>,
    confirmed: Given<Bytes<'_>>,
    confirmation_tag: Given<Bytes<'_>>,
) -> PyResult<Vec<u8>> {
    given!(suite, confirmed, confirmation_tag);
    apart(py, || {
        core::interim_transcript_hash(suite, &confirmed, &confirmation_tag)
    })
}

/// The length that a vector's header holds (RFC 9420 section 2.1.2); nothing may follow the header.
#[pyfunction]
pub fn vector_length(py: Python<'_>, header: Given<Bytes<'_>>) -> PyResult<usize> {
    given!(header);
    apart(py, || core::vector_length(&header))
}

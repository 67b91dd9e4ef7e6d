//! Groups, commits, staged commits and members.

use mlsrtc_core::{CommitRequest, Committed, Engine, MlsRs};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::{extensions, short_hex, PskArgument};
use crate::errors::Result;
use crate::secret::Secret;

type EngineGroup = <MlsRs as Engine>::Group;

/// One occupied leaf of the tree, as frozen values.
#[pyclass(frozen, eq, hash, module = "mlsrtc._core")]
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The leaf's index, from 0 (RFC 9420 section 4.1).
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
    /// The basic credential; empty if the credential is of another kind.
    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.identity)
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

/// A commit that was made here (RFC 9420 section 12.4), by a member or from outside.
///
/// Nothing has happened yet: the parent group is as it was, and `group` is the epoch this commit leads to. Save
/// `group.save()` before sending `message`; when the message comes back as the winner, go on with `group`. The echo of one's
/// own commit cannot be staged: compare the bytes.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Commit(pub(crate) Committed<EngineGroup>);

#[pymethods]
impl Commit {
    /// MLSMessage with the PublicMessage of the commit.
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
pub struct Staged(<MlsRs as Engine>::Staged);

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

/// One member of a group at ONE epoch. It never changes.
///
/// What leads on gives a new Group: `commit(...).group` and `stage(...).apply()`. The old one stays usable, so rival commits
/// can be tried, a commit can be rolled back, and a refused message has changed nothing. Dropping it wipes its secrets.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Group(pub(crate) EngineGroup);

#[pymethods]
impl Group {
    /// The group's identifier.
    #[getter]
    fn group_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::context(&self.0).group_id)
    }

    /// The number of the epoch; two branches have epochs of one number.
    #[getter]
    fn epoch(&self) -> u64 {
        MlsRs::context(&self.0).epoch
    }

    /// The cipher suite.
    #[getter]
    fn suite(&self) -> u16 {
        MlsRs::context(&self.0).suite
    }

    /// Our leaf index.
    #[getter]
    fn own_leaf(&self) -> u32 {
        MlsRs::own_leaf(&self.0)
    }

    /// GroupContext, TLS-encoded (RFC 9420 section 8.1).
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::context(&self.0).encoded)
    }

    /// The tag that binds the epoch's secrets to its context (RFC 9420 section 8.1): 32 bytes in suite 1.
    #[getter]
    fn confirmation_tag<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let tag = py.detach(|| MlsRs::confirmation_tag(&self.0))?;
        Ok(PyBytes::new(py, &tag))
    }

    /// The hash of the ratchet tree (RFC 9420 section 7.8).
    #[getter]
    fn tree_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &MlsRs::context(&self.0).tree_hash)
    }

    /// The extensions of the GroupContext: (type, contents) pairs.
    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &MlsRs::context(&self.0).extensions)
    }

    /// A secret that is equal for all who are in the same epoch on the same branch (RFC 9420 section 8.7).
    fn epoch_authenticator(&self) -> Result<Secret> {
        Ok(MlsRs::epoch_authenticator(&self.0)?.into())
    }

    /// Everyone in the group, by leaf.
    fn members(&self, py: Python<'_>) -> Vec<Member> {
        py.detach(|| MlsRs::roster(&self.0))
            .into_iter()
            .map(Member::from)
            .collect()
    }

    /// The ratchet tree, TLS-encoded (RFC 9420 section 12.4.3.3): 200 to 300 bytes a member.
    fn tree<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::tree(&self.0))?;
        Ok(PyBytes::new(py, &made))
    }

    /// MLSMessage with a GroupInfo signed by us, with external_pub, so that others can join from outside (RFC 9420
    /// section 12.4.3). Without the tree it is about 230 bytes and the same bytes each time.
    #[pyo3(signature = (*, with_tree=false))]
    fn group_info<'py>(&self, py: Python<'py>, with_tree: bool) -> Result<Bound<'py, PyBytes>> {
        let made = py.detach(|| MlsRs::group_info(&self.0, with_tree))?;
        Ok(PyBytes::new(py, &made))
    }

    /// MLS-Exporter(label, context, length) (RFC 9420 section 8.5): a secret of this epoch for use outside of MLS.
    ///
    /// Choose the context so that no two uses share one. length: bytes, at most 255 hashes (LocalProtocolError ``bad_length``).
    fn export(&self, label: &str, context: &[u8], length: usize) -> Result<Secret> {
        Ok(MlsRs::export(&self.0, label.as_bytes(), context, length)?.into())
    }

    /// All sender keys of the epoch in one call, 32 bytes each, in the order of `infos`.
    ///
    /// key i = HKDF-Expand-SHA256(media_secret, infos[i], 32) with media_secret = MLS-Exporter(label, context, 32), which is
    /// wiped at once (docs/protocol.md, media keys). HKDF-SHA256 whatever the group's suite.
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

    /// Makes a commit (RFC 9420 section 12.4); this group stays as it is.
    ///
    /// add: key packages, as the MLSMessages somebody published. remove: leaves. Both may be given at once.
    /// path: rekey our own path although nothing demands it. A commit that removes, or changes nothing, always has one.
    /// authenticated_data: sent in the clear, covered by the signature.
    /// now: seconds since 1970, against which the lifetimes in the key packages are checked; without it they are not.
    ///
    /// Raises RemoteProtocolError if a key package does not hold (``bad_signature``, ``bad_lifetime``, ``duplicate_leaf``,
    /// ``wrong_suite``, ...), LocalProtocolError if a leaf to remove is none or our own.
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

    /// Checks somebody else's commit and processes it on a clone.
    ///
    /// psks: external pre-shared keys by identifier, should it ask for one.
    /// Raises RemoteProtocolError with the reason; this group is as it was, and the genuine commit still applies.
    #[pyo3(signature = (message, *, psks=None))]
    fn stage(&self, py: Python<'_>, message: &[u8], psks: PskArgument<'_>) -> Result<Staged> {
        let keys = crate::convert::psks(psks)?;
        Ok(Staged(py.detach(|| MlsRs::stage(&self.0, message, &keys))?))
    }

    /// The same epoch, knowing a proposal that a later commit may name by reference (RFC 9420 section 12.1).
    ///
    /// The proposal's signature is checked; whether it may be committed is checked with the commit. A commit made on the
    /// result contains it.
    fn with_proposal(&self, py: Python<'_>, message: &[u8]) -> Result<Self> {
        Ok(Self(py.detach(|| MlsRs::propose(&self.0, message))?))
    }

    /// Everything this member needs to go on at this epoch, for `Client.load_group()`; 450 to 700 bytes a member.
    ///
    /// A joined group, a commit that waits for its fate and an external join that does all have this one form.
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

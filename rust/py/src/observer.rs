//! A group seen from outside.

use mlsrtc_core::{Engine, MlsRs};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::{rules, Client, Successor};
use crate::errors::Result;
use crate::given::{given, Bytes, Given, Many};
use crate::member::Member;
use crate::proposal::Proposal;

/// A group followed from outside, by its GroupInfo, tree and commits: who is in it and what its tree is, without any secret.
///
/// Like a Group it is one epoch and never changes. It checks signatures and the tree, and cannot check the tags that only
/// members can: a commit it follows may still be one that no member can open. Never take its word for a commit alone.
/// It takes no `now`: it never asks whether certificates and key packages are valid at a time.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Observer(<MlsRs as Engine>::Observer);

#[pymethods]
impl Observer {
    /// Begins with a signed GroupInfo, and the tree unless it is inside.
    ///
    /// successor, credential_types, roots: the rules the members use (see `Client`); basic credentials are always believed.
    /// sender: who proposes from outside, if the group names it among its external senders; `propose()` needs it.
    ///
    /// Raises RemoteProtocolError: ``bad_signature``, ``bad_tree``, ...; LocalProtocolError: ``missing_tree`` if the tree is
    /// neither inside nor given, ``bad_root`` if one of `roots` is no certificate.
    #[staticmethod]
    #[pyo3(
        signature = (group_info, tree=None, *, successor=None, credential_types=Given::default(), roots=Given::default(), sender=None),
        text_signature = "(group_info, tree=None, *, successor=None, credential_types=(), roots=(), sender=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn observe(
        py: Python<'_>,
        group_info: Given<Bytes<'_>>,
        tree: Option<Given<Bytes<'_>>>,
        successor: Option<Given<&Successor>>,
        credential_types: Given<Many<u16>>,
        roots: Given<Many<Vec<u8>>>,
        sender: Option<Given<&Client>>,
    ) -> Result<Self> {
        const BASIC: u16 = 1;
        given!(group_info, tree, successor, credential_types, roots, sender);
        let mut credential_types = credential_types.0;
        credential_types.push(BASIC);
        let rules = rules(successor, credential_types, roots.0);
        let sender = sender.map(|one| &one.0);
        Ok(Self(py.detach(|| {
            MlsRs::observe(&group_info, tree.as_deref(), &rules, sender)
        })?))
    }

    /// Makes a proposal from outside (RFC 9420 section 12.1.8.1), as an MLSMessage for the members. It is not known here
    /// until it is followed: `observer.follow(message)`.
    ///
    /// Raises LocalProtocolError: ``wrong_state`` without a `sender`, ``bad_sender`` if the group does not name it,
    /// ``bad_proposal``, ``unknown_leaf``; ``group_ended`` after a commit that ended the group was followed.
    #[pyo3(
        signature = (proposal, *, authenticated_data=Given::default()),
        text_signature = "($self, /, proposal, *, authenticated_data=b\"\")"
    )]
    fn propose<'py>(
        &self,
        py: Python<'py>,
        proposal: Given<&Proposal>,
        authenticated_data: Given<Bytes<'_>>,
    ) -> Result<Bound<'py, PyBytes>> {
        given!(proposal, authenticated_data);
        let made =
            py.detach(|| MlsRs::propose_from_outside(&self.0, &proposal.0, &authenticated_data))?;
        Ok(PyBytes::new(py, &made))
    }

    /// The epoch a commit leads to; with a proposal, the same epoch knowing it. Raises RemoteProtocolError.
    fn follow(&self, py: Python<'_>, message: Given<Bytes<'_>>) -> Result<Self> {
        given!(message);
        Ok(Self(py.detach(|| MlsRs::follow(&self.0, &message))?))
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

//! Proposals as Python values.

use mlsrtc_core::{Proposer, ResumptionPsk};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::{extensions, short_hex};
use crate::errors::Result;
use crate::given::{given, Given, Many};

/// What a group is to be in its next life (RFC 9420 section 12.1.5).
#[pyclass(frozen, eq, hash, module = "mlsrtc._core")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReInit(pub(crate) mlsrtc_core::ReInit);

#[pymethods]
impl ReInit {
    /// The identifier of the new group.
    #[getter]
    fn group_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.group_id)
    }

    /// Its version of MLS; 1 is mls10, the only one there is.
    #[getter]
    fn version(&self) -> u16 {
        self.0.version
    }

    /// Its cipher suite.
    #[getter]
    fn suite(&self) -> u16 {
        self.0.suite
    }

    /// The extensions of its GroupContext: (type, contents) pairs.
    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        extensions(py, &self.0.extensions)
    }

    fn __repr__(&self) -> String {
        format!(
            "ReInit(group_id={}…, suite={})",
            short_hex(&self.0.group_id),
            self.0.suite
        )
    }
}

/// What somebody asks of a group (RFC 9420 section 12.1): made here by the static methods, or found in a group or a commit.
///
/// `Group.propose()` sends one by itself, `Group.commit(proposals=...)` commits one that was never sent. A property that a
/// kind does not have is None.
#[pyclass(frozen, eq, hash, module = "mlsrtc._core")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposal(pub(crate) mlsrtc_core::Proposal);

#[pymethods]
impl Proposal {
    /// Add the owner of this key package, an MLSMessage (RFC 9420 section 12.1.1).
    #[staticmethod]
    fn add(key_package: Given<Vec<u8>>) -> Result<Self> {
        given!(key_package);
        Ok(Self(mlsrtc_core::Proposal::Add(key_package)))
    }

    /// Fresh keys for our own leaf, without the path of a commit (RFC 9420 section 12.1.2). Somebody else must commit it.
    #[staticmethod]
    fn update() -> Self {
        Self(mlsrtc_core::Proposal::Update)
    }

    /// Remove the member in this leaf (RFC 9420 section 12.1.3).
    #[staticmethod]
    fn remove(leaf: Given<u32>) -> Result<Self> {
        given!(leaf);
        Ok(Self(mlsrtc_core::Proposal::Remove(leaf)))
    }

    /// Mix in the external pre-shared key with this identifier (RFC 9420 section 12.1.4). Only who knows it can follow.
    #[staticmethod]
    fn psk(id: Given<Vec<u8>>) -> Result<Self> {
        given!(id);
        Ok(Self(mlsrtc_core::Proposal::ExternalPsk(id)))
    }

    /// Mix in the resumption PSK of an earlier epoch of this group (RFC 9420 section 8.6). Only who was in the group then,
    /// and keeps that epoch (`Limits.past_epochs`), can follow.
    #[staticmethod]
    fn resumption_psk(epoch: Given<u64>) -> Result<Self> {
        given!(epoch);
        Ok(Self(mlsrtc_core::Proposal::ResumptionPsk(ResumptionPsk {
            group_id: None,
            epoch,
        })))
    }

    /// End this group, so that another can follow it (RFC 9420 section 12.1.5). A commit covers nothing else.
    ///
    /// group_id, suite, extensions: what the new group is to have; without a suite, that of the group it is proposed in.
    ///
    /// Nothing brings an ended group back. So whoever proposes or commits it is refused (LocalProtocolError) if nobody could
    /// make the new group: ``unsupported_suite`` if we do not know the suite, ``bad_capabilities`` if some member's leaf does
    /// not list it, or not what the extensions ask of all. A member says that it understands more by a commit with another
    /// `client`. A commit of ours leaves out such a proposal of somebody else; a commit of somebody else does end the group.
    #[staticmethod]
    #[pyo3(
        signature = (group_id, *, suite=None, extensions=Given::default()),
        text_signature = "(group_id, *, suite=None, extensions=())"
    )]
    fn reinit(
        group_id: Given<Vec<u8>>,
        suite: Option<Given<u16>>,
        extensions: Given<Many<(u16, Vec<u8>)>>,
    ) -> Result<Self> {
        given!(group_id, suite, extensions);
        let Many(extensions) = extensions;
        Ok(Self(match suite {
            Some(suite) => mlsrtc_core::Proposal::ReInit(mlsrtc_core::ReInit {
                group_id,
                version: 1,
                suite,
                extensions,
            }),
            None => mlsrtc_core::Proposal::ReInitInSuite {
                group_id,
                extensions,
            },
        }))
    }

    /// Put these in the place of all extensions of the GroupContext (RFC 9420 section 12.1.7): (type, contents) pairs. Where it
    /// is proposed or committed they are looked at as `Client.create_group()` does.
    #[staticmethod]
    fn context_extensions(extensions: Given<Many<(u16, Vec<u8>)>>) -> Result<Self> {
        given!(extensions);
        Ok(Self(mlsrtc_core::Proposal::ContextExtensions(extensions.0)))
    }

    /// Something the application defines (RFC 9420 section 12.1.8): carried, agreed upon, and not looked into.
    ///
    /// proposal_type: one that all members have among their `proposal_types`; 0xF000 to 0xFFFF are for private use. If your
    /// type is one that needs a path, commit it with ``path=True``: the engine does not know. Raises LocalProtocolError
    /// (``bad_proposal``) if it is 0 to 7, the standard's own (RFC 9420 section 17.4).
    #[staticmethod]
    fn custom(proposal_type: Given<u16>, data: Given<Vec<u8>>) -> Result<Self> {
        given!(proposal_type, data);
        let made = mlsrtc_core::Proposal::Custom {
            number: proposal_type,
            data,
        };
        made.check()?;
        Ok(Self(made))
    }

    /// Its name in the standard: ``add``, ``update``, ``remove``, ``psk``, ``reinit``, ``external_init``,
    /// ``group_context_extensions``, or ``custom``.
    #[getter]
    fn kind(&self) -> &'static str {
        use mlsrtc_core::Proposal as P;
        match &self.0 {
            P::Add(_) => "add",
            P::Update => "update",
            P::Remove(_) => "remove",
            P::ExternalPsk(_) | P::ResumptionPsk(_) => "psk",
            P::ReInit(_) | P::ReInitInSuite { .. } => "reinit",
            P::ExternalInit => "external_init",
            P::ContextExtensions(_) => "group_context_extensions",
            P::Custom { .. } => "custom",
        }
    }

    /// Its number in the registry (RFC 9420 section 17.4).
    #[getter]
    fn r#type(&self) -> u16 {
        self.0.number()
    }

    /// Of an add: the key package, an MLSMessage. `inspect_key_package()` reads it.
    #[getter]
    fn key_package<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.0 {
            mlsrtc_core::Proposal::Add(bytes) => Some(PyBytes::new(py, bytes)),
            _ => None,
        }
    }

    /// Of a removal: the leaf.
    #[getter]
    fn leaf(&self) -> Option<u32> {
        match &self.0 {
            mlsrtc_core::Proposal::Remove(leaf) => Some(*leaf),
            _ => None,
        }
    }

    /// Of an external pre-shared key: its identifier.
    #[getter]
    fn psk_id<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.0 {
            mlsrtc_core::Proposal::ExternalPsk(id) => Some(PyBytes::new(py, id)),
            _ => None,
        }
    }

    /// Of a resumption PSK: the epoch it is of.
    #[getter]
    fn psk_epoch(&self) -> Option<u64> {
        match &self.0 {
            mlsrtc_core::Proposal::ResumptionPsk(psk) => Some(psk.epoch),
            _ => None,
        }
    }

    /// Of a reinitialization: what is to follow. None if it leaves the suite to a group in which it is not yet proposed.
    #[getter]
    fn follows(&self) -> Option<ReInit> {
        match &self.0 {
            mlsrtc_core::Proposal::ReInit(next) => Some(ReInit(next.clone())),
            _ => None,
        }
    }

    /// Of new extensions of the GroupContext: (type, contents) pairs.
    #[getter]
    fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match &self.0 {
            mlsrtc_core::Proposal::ContextExtensions(list) => extensions(py, list).map(Some),
            _ => Ok(None),
        }
    }

    /// Of a custom proposal: what it says.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.0 {
            mlsrtc_core::Proposal::Custom { data, .. } => Some(PyBytes::new(py, data)),
            _ => None,
        }
    }

    fn __repr__(&self) -> String {
        use mlsrtc_core::Proposal as P;
        match &self.0 {
            P::Remove(leaf) => format!("Proposal.remove({leaf})"),
            P::Custom { number, data } => {
                format!("Proposal.custom({number:#06x}, {} bytes)", data.len())
            }
            P::ResumptionPsk(psk) => format!("Proposal.resumption_psk({})", psk.epoch),
            _ => format!("Proposal({})", self.kind()),
        }
    }
}

/// A proposal as it stands in a group or in a commit: with who proposed it.
#[pyclass(frozen, eq, hash, module = "mlsrtc._core")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposed(mlsrtc_core::Proposed);

impl From<mlsrtc_core::Proposed> for Proposed {
    fn from(found: mlsrtc_core::Proposed) -> Self {
        Self(found)
    }
}

#[pymethods]
impl Proposed {
    /// What is proposed.
    #[getter]
    fn proposal(&self) -> Proposal {
        Proposal(self.0.proposal.clone())
    }

    /// Who proposed it (RFC 9420 section 6): ``member``, ``external`` (one of the group's external senders), ``new_member``
    /// (who wants to be added), or ``new_member_commit`` (the author of the external commit it stands in).
    #[getter]
    fn by(&self) -> &'static str {
        match self.0.proposer {
            Proposer::Member(_) => "member",
            Proposer::External(_) => "external",
            Proposer::NewMember => "new_member",
            Proposer::NewMemberCommit => "new_member_commit",
        }
    }

    /// The leaf of the member, or the place among the external senders; None for who was neither.
    #[getter]
    fn sender(&self) -> Option<u32> {
        match self.0.proposer {
            Proposer::Member(place) | Proposer::External(place) => Some(place),
            Proposer::NewMember | Proposer::NewMemberCommit => None,
        }
    }

    /// ProposalRef (RFC 9420 section 5.2), by which a commit names it; None if the commit carries it itself.
    #[getter]
    fn reference<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0
            .reference
            .as_ref()
            .map(|bytes| PyBytes::new(py, bytes))
    }

    fn __repr__(&self) -> String {
        let sender = self
            .sender()
            .map_or_else(String::new, |place| format!(" {place}"));
        format!(
            "Proposed({} by {}{sender})",
            Proposal(self.0.proposal.clone()).kind(),
            self.by()
        )
    }
}

pub(crate) fn proposed_tuple<'py>(
    py: Python<'py>,
    list: &[mlsrtc_core::Proposed],
) -> PyResult<Bound<'py, PyTuple>> {
    let found: Vec<_> = list
        .iter()
        .map(|one| Bound::new(py, Proposed::from(one.clone())))
        .collect::<PyResult<_>>()?;
    PyTuple::new(py, found)
}

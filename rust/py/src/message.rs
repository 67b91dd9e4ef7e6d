//! What a group sends and receives besides commits.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::Result;
use crate::given::{given, Given};
use crate::group::{EngineGroup, Group};

/// How far application messages may come out of order, and how late: a rule as data (RFC 9420 sections 9.1 and 15.3).
///
/// ahead: how many messages of one sender may be missing before the one that came; at most 1024 (LocalProtocolError
/// ``bad_limit``).
/// behind: how far behind the sender's newest a missing one may be. The keys of older ones are dropped.
/// past_epochs: of how many past epochs a group keeps what opens late messages, and the resumption PSK. Each costs some
/// 100 bytes and 33 for each member in the saved state, and can be read by whoever copies it. With 0 nothing is kept.
#[pyclass(frozen, eq, module = "mlsrtc._core")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits(pub(crate) mlsrtc_core::Limits);

#[pymethods]
impl Limits {
    #[new]
    #[pyo3(
        signature = (*, ahead=Given::of(1024), behind=Given::of(128), past_epochs=Given::of(0)),
        text_signature = "(*, ahead=1024, behind=128, past_epochs=0)"
    )]
    fn new(ahead: Given<u32>, behind: Given<u32>, past_epochs: Given<u16>) -> Result<Self> {
        given!(ahead, behind, past_epochs);
        Ok(Self(mlsrtc_core::Limits::new(ahead, behind, past_epochs)?))
    }

    /// Messages of one sender that may be missing before the one that came.
    #[getter]
    fn ahead(&self) -> u32 {
        self.0.ahead()
    }

    /// How far behind the sender's newest message a missing one may be.
    #[getter]
    fn behind(&self) -> u32 {
        self.0.behind()
    }

    /// Past epochs that a group keeps.
    #[getter]
    fn past_epochs(&self) -> u16 {
        self.0.past_epochs()
    }

    fn __repr__(&self) -> String {
        format!(
            "Limits(ahead={}, behind={}, past_epochs={})",
            self.ahead(),
            self.behind(),
            self.past_epochs()
        )
    }
}

/// A message that was made here and does not begin an epoch: a proposal, or an application message.
///
/// Save `group.save()` before sending `message`, and go on with `group`: it knows the proposal, and that the key of the
/// message is used.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Outgoing(mlsrtc_core::Outgoing<EngineGroup>);

impl From<mlsrtc_core::Outgoing<EngineGroup>> for Outgoing {
    fn from(made: mlsrtc_core::Outgoing<EngineGroup>) -> Self {
        Self(made)
    }
}

#[pymethods]
impl Outgoing {
    /// The MLSMessage to send.
    #[getter]
    fn message<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.message)
    }

    /// Where we go on: the same epoch, after this message.
    #[getter]
    fn group(&self) -> Group {
        Group(self.0.group.clone())
    }

    fn __repr__(&self) -> String {
        format!("Outgoing({} bytes)", self.0.message.len())
    }
}

/// An application message that was opened (RFC 9420 section 15).
///
/// Go on with `group`, which has dropped the key: opened with it, the same message is refused.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Received {
    /// The leaf of who sent it, in the epoch it was sent in. Its signature was checked.
    #[pyo3(get)]
    sender: u32,
    /// The epoch it was sent in.
    #[pyo3(get)]
    epoch: u64,
    /// Its place among the sender's messages of that epoch, from 0.
    #[pyo3(get)]
    generation: u32,
    data: Vec<u8>,
    authenticated_data: Vec<u8>,
    group: EngineGroup,
}

impl From<mlsrtc_core::Received<EngineGroup>> for Received {
    fn from(opened: mlsrtc_core::Received<EngineGroup>) -> Self {
        let mlsrtc_core::Received {
            data,
            sender,
            epoch,
            generation,
            authenticated_data,
            group,
        } = opened;
        Self {
            sender,
            epoch,
            generation,
            data,
            authenticated_data,
            group,
        }
    }
}

#[pymethods]
impl Received {
    /// What was sent, without the padding.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.data)
    }

    /// What the sender said in the clear beside it, covered by its signature.
    #[getter]
    fn authenticated_data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.authenticated_data)
    }

    /// Where we go on: the group without the key of this message.
    #[getter]
    fn group(&self) -> Group {
        Group(self.group.clone())
    }

    fn __repr__(&self) -> String {
        format!(
            "Received(from leaf {}, epoch {}, {} bytes)",
            self.sender,
            self.epoch,
            self.data.len()
        )
    }
}

//! Credentials, and the two extensions that name them.

use mlsrtc_core::Error;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::convert::short_hex;
use crate::errors::Result;
use crate::given::{given, Given, Many};

/// Who a leaf says it is (RFC 9420 section 5.3).
///
/// MLS checks that whoever speaks has the leaf's signature key. That the key belongs to the name is what a credential is to
/// show: a chain of certificates shows it to who trusts its root, a basic credential shows nothing by itself.
#[pyclass(frozen, eq, hash, module = "mlsrtc._core")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credential(pub(crate) mlsrtc_core::Credential);

impl From<mlsrtc_core::Credential> for Credential {
    fn from(found: mlsrtc_core::Credential) -> Self {
        Self(found)
    }
}

impl Credential {
    fn checked(made: mlsrtc_core::Credential) -> Result<Self> {
        made.check()?;
        Ok(Self(made))
    }
}

#[pymethods]
impl Credential {
    /// Bytes that name somebody.
    #[staticmethod]
    fn basic(identity: Given<Vec<u8>>) -> Result<Self> {
        given!(identity);
        Ok(Self(mlsrtc_core::Credential::Basic(identity)))
    }

    /// A chain of certificates in DER, the leaf's first, each certified by the next; the root may be left out. The leaf's
    /// certificate is for the signature key. Who is the same is decided by its subject. The certificates are looked into where
    /// the roots are known, by `Client`. Raises LocalProtocolError (``bad_credential``) for an empty chain.
    #[staticmethod]
    fn x509(chain: Given<Many<Vec<u8>>>) -> Result<Self> {
        given!(chain);
        Self::checked(mlsrtc_core::Credential::X509(chain.0))
    }

    /// Something the application defines: carried, and not looked into.
    ///
    /// credential_type: 0xF000 to 0xFFFF are for private use (RFC 9420 section 17.5). Raises LocalProtocolError
    /// (``bad_credential``) for 0, 1 and 2, the standard's own.
    #[staticmethod]
    fn custom(credential_type: Given<u16>, data: Given<Vec<u8>>) -> Result<Self> {
        given!(credential_type, data);
        Self::checked(mlsrtc_core::Credential::Custom {
            number: credential_type,
            data,
        })
    }

    /// The number in the registry (RFC 9420 section 17.5): 1 basic, 2 X.509.
    #[getter]
    fn r#type(&self) -> u16 {
        self.0.number()
    }

    /// The bytes of a basic credential; empty for another kind.
    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.identity())
    }

    /// The certificates of an X.509 credential; empty for another kind.
    #[getter]
    fn chain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let chain: &[Vec<u8>] = match &self.0 {
            mlsrtc_core::Credential::X509(chain) => chain,
            _ => &[],
        };
        PyTuple::new(py, chain.iter().map(|one| PyBytes::new(py, one)))
    }

    /// The contents of a custom credential; empty for another kind.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match &self.0 {
            mlsrtc_core::Credential::Custom { data, .. } => PyBytes::new(py, data),
            _ => PyBytes::new(py, &[]),
        }
    }

    fn __repr__(&self) -> String {
        match &self.0 {
            mlsrtc_core::Credential::Basic(identity) => {
                format!("Credential.basic({}…)", short_hex(identity))
            }
            mlsrtc_core::Credential::X509(chain) => {
                format!("Credential.x509({} certificates)", chain.len())
            }
            mlsrtc_core::Credential::Custom { number, data } => {
                format!("Credential.custom({number:#06x}, {} bytes)", data.len())
            }
        }
    }
}

/// The extension of a GroupContext that says what every member must understand (RFC 9420 section 11.1): a (type, contents)
/// pair for `create_group(extensions=...)` or `Proposal.context_extensions()`.
///
/// extensions, proposals, credentials: types beyond those that the standard demands of everybody.
#[pyfunction]
#[pyo3(
    signature = (*, extensions=Given::default(), proposals=Given::default(), credentials=Given::default()),
    text_signature = "(*, extensions=(), proposals=(), credentials=())"
)]
pub fn required_capabilities(
    py: Python<'_>,
    extensions: Given<Many<u16>>,
    proposals: Given<Many<u16>>,
    credentials: Given<Many<u16>>,
) -> Result<(u16, Bound<'_, PyBytes>)> {
    given!(extensions, proposals, credentials);
    let (number, data) =
        mlsrtc_core::required_capabilities(&extensions.0, &proposals.0, &credentials.0)?;
    Ok((number, PyBytes::new(py, &data)))
}

/// The extension of a GroupContext that names who may propose without being a member (RFC 9420 section 12.1.8.1): a
/// (type, contents) pair for `create_group(extensions=...)` or `Proposal.context_extensions()`.
///
/// senders: (credential, public signature key) pairs; bytes are a basic credential. `Proposed.sender` tells the place here. The
/// keys are of the group's cipher suite (``bad_key``), which is looked at where the group is made or changed, where somebody
/// else has changed it, and where it is joined or observed: length, and of the NIST curves the point. Whether 32 bytes are a
/// point of Ed25519 is seen as a signature is verified, and under none that is not does one verify: nobody proposes by it.
#[pyfunction]
pub fn external_senders<'py>(
    py: Python<'py>,
    senders: Given<Many<(mlsrtc_core::Credential, Vec<u8>)>>,
) -> Result<(u16, Bound<'py, PyBytes>)> {
    given!(senders);
    let Many(senders) = senders;
    if senders.iter().any(|(_, key)| key.is_empty()) {
        return Err(Error::local("bad_key", "a signature key is empty").into());
    }
    let (number, data) = mlsrtc_core::external_senders(&senders)?;
    Ok((number, PyBytes::new(py, &data)))
}

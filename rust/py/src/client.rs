//! Clients, key packages and the rule of succession.

use mlsrtc_core::{Engine, ExternalJoin, Lifetime, MlsRs};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{short_hex, PskArgument};
use crate::errors::Result;
use crate::group::{Commit, Group};
use crate::keys::SigningKey;
use crate::message::Limits;
use crate::secret::Secret;

/// Whose old leaf an external commit may remove: a rule as data (RFC 9420 section 12.4.3.2).
///
/// ``Successor.SAME_IDENTITY``: only one with the same credential. ``Successor.first_fields(n)``: credentials are made of
/// fields, each a big-endian u16 length and that many bytes, and the first n must be equal; so a device may remove the leaf
/// it left behind although its credential now names another membership. The identity of a leaf is always its whole credential.
/// The same rule covers a member that changes its own credential in a commit.
#[pyclass(frozen, eq, module = "mlsrtc._core")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Successor(pub(crate) mlsrtc_core::Successor);

#[pymethods]
impl Successor {
    #[classattr]
    #[pyo3(name = "SAME_IDENTITY")]
    fn same_identity() -> Self {
        Self(mlsrtc_core::Successor::SameIdentity)
    }

    /// Equal in the first `count` fields (0 to 255); a credential may always succeed itself.
    #[staticmethod]
    fn first_fields(count: u8) -> Self {
        Self(mlsrtc_core::Successor::FirstFields(count))
    }

    fn __repr__(&self) -> String {
        match self.0 {
            mlsrtc_core::Successor::SameIdentity => "Successor.SAME_IDENTITY".to_owned(),
            mlsrtc_core::Successor::FirstFields(count) => {
                format!("Successor.first_fields({count})")
            }
        }
    }
}

pub(crate) fn rule(argument: Option<&Bound<'_, Successor>>) -> mlsrtc_core::Successor {
    argument.map_or_else(mlsrtc_core::Successor::default, |given| given.get().0)
}

/// A key package with its private halves (RFC 9420 section 10): what somebody needs to add us, and what we need to join.
///
/// The private keys live in this object and in what `save()` gives, nowhere else. Joining does not use them up, so that the
/// Welcome of a rival branch opens too; drop the object and its saved form when no Welcome is expected any more.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct KeyPackage(mlsrtc_core::KeyPackage);

#[pymethods]
impl KeyPackage {
    /// The key package whose `save()` this is. Raises LocalProtocolError (``bad_saved_state``) if it is not whole.
    #[staticmethod]
    fn load(data: &Secret) -> Result<Self> {
        Ok(Self(mlsrtc_core::KeyPackage::load(&data.value()?)?))
    }

    /// A key package made elsewhere, from its MLSMessage and its private init and leaf encryption keys.
    ///
    /// For tests and for moving a device; keys of one's own come from `Client.key_package()`. Raises LocalProtocolError
    /// (``bad_key_package``) if it is none or the init keys do not fit.
    #[staticmethod]
    fn from_keys(public: &[u8], init_key: &Secret, leaf_key: &Secret) -> Result<Self> {
        Ok(Self(mlsrtc_core::KeyPackage::from_keys(
            public,
            &init_key.value()?,
            &leaf_key.value()?,
        )?))
    }

    /// The key package with its private keys, to be kept as a secret.
    fn save(&self) -> Result<Secret> {
        Ok(self.0.save()?.into())
    }

    /// The MLSMessage to publish; about 320 bytes in suite 1.
    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.public())
    }

    /// KeyPackageRef (RFC 9420 section 5.2), by which a Welcome names it: 32 bytes in suite 1.
    #[getter]
    fn reference<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.reference())
    }

    /// Its cipher suite.
    #[getter]
    fn suite(&self) -> u16 {
        self.0.suite()
    }

    /// The basic credential in it; empty if the credential is of another kind.
    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.identity())
    }

    /// The public signature key of its leaf.
    #[getter]
    fn signature_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.signature_key())
    }

    fn __repr__(&self) -> String {
        format!(
            "KeyPackage(suite={}, reference={}…)",
            self.0.suite(),
            short_hex(self.0.reference())
        )
    }
}

/// Who a member is: a basic credential (RFC 9420 section 5.3), its signature key, and what its leaves say.
///
/// identity: the credential, any bytes; no two leaves of a group may have the same.
/// leaf_extensions: (type, contents) pairs that every leaf of this client carries (RFC 9420 section 13.4).
/// extension_types: further extension types this client understands; a group with context extensions admits only who does.
/// proposal_types: custom types of proposals this client understands.
/// successor: whose old leaf an external commit may remove; all members should use the same rule.
/// limits: how far application messages may be out of order and late, and how many past epochs its groups keep.
///
/// It holds no state of any group: key packages, groups and saved states are handed in and out. Everything it makes is of
/// the cipher suite of its key. Raises LocalProtocolError (``duplicate_extension``) if a type is given twice.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Client(mlsrtc_core::Client);

/// One key package or several.
#[derive(FromPyObject)]
enum KeyPackages<'py> {
    One(Bound<'py, KeyPackage>),
    Several(Vec<Bound<'py, KeyPackage>>),
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (identity, signing_key, *, leaf_extensions=Vec::new(), extension_types=Vec::new(), proposal_types=Vec::new(), successor=None, limits=None))]
    fn new(
        identity: Vec<u8>,
        signing_key: &SigningKey,
        leaf_extensions: Vec<(u16, Vec<u8>)>,
        extension_types: Vec<u16>,
        proposal_types: Vec<u16>,
        successor: Option<&Bound<'_, Successor>>,
        limits: Option<&Bound<'_, Limits>>,
    ) -> Result<Self> {
        let rule = rule(successor);
        let key = signing_key.0.clone();
        let made = mlsrtc_core::Client::new(identity, key, leaf_extensions, extension_types, rule)?
            .with_proposal_types(proposal_types)
            .with_limits(limits.map(|given| given.get().0).unwrap_or_default());
        Ok(Self(made))
    }

    /// The credential.
    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.identity())
    }

    /// The signature key.
    #[getter]
    fn signing_key(&self) -> SigningKey {
        SigningKey(self.0.signing_key().clone())
    }

    /// The cipher suite of the key.
    #[getter]
    fn suite(&self) -> u16 {
        self.0.signing_key().suite()
    }

    /// A fresh key package.
    ///
    /// not_before, not_after: seconds since 1970. Without them it is good for ever: a peer whose clock is behind would refuse
    /// one of this minute, and every joiner looks at the lifetime of every leaf that never committed (RFC 9420 section 7.3).
    #[pyo3(signature = (*, not_before=None, not_after=None))]
    fn key_package(
        &self,
        py: Python<'_>,
        not_before: Option<u64>,
        not_after: Option<u64>,
    ) -> Result<KeyPackage> {
        let lifetime = Lifetime {
            not_before: not_before.unwrap_or(Lifetime::WIDEST.not_before),
            not_after: not_after.unwrap_or(Lifetime::WIDEST.not_after),
        };
        Ok(KeyPackage(
            py.detach(|| MlsRs::key_package(&self.0, lifetime))?,
        ))
    }

    /// A group of one, at epoch 0 (RFC 9420 section 11).
    ///
    /// group_id: should be unique; whoever makes the rules of the application decides how.
    /// extensions: of the GroupContext, (type, contents) pairs; the client must understand them.
    #[pyo3(signature = (group_id, *, extensions=Vec::new()))]
    fn create_group(
        &self,
        py: Python<'_>,
        group_id: &[u8],
        extensions: Vec<(u16, Vec<u8>)>,
    ) -> Result<Group> {
        Ok(Group(py.detach(|| {
            MlsRs::create(&self.0, group_id, &extensions)
        })?))
    }

    /// The group a Welcome leads to (RFC 9420 section 12.4.3.1).
    ///
    /// key_packages: the one, or those, that it may name; they are not used up.
    /// tree: the ratchet tree, unless the Welcome carries it. Both are checked against the signed tree hash.
    /// psks: external pre-shared keys by identifier, should the Welcome ask for one (RFC 9420 section 8.4).
    ///
    /// No clock is asked: lifetimes of leaves are the adder's business. Raises RemoteProtocolError, ``no_key_package`` if it is
    /// for somebody else; LocalProtocolError (``wrong_client``) if a key package has another signature key.
    #[pyo3(signature = (welcome, key_packages, *, tree=None, psks=None))]
    fn join(
        &self,
        py: Python<'_>,
        welcome: &[u8],
        key_packages: KeyPackages<'_>,
        tree: Option<&[u8]>,
        psks: PskArgument<'_>,
    ) -> Result<Group> {
        let given = match key_packages {
            KeyPackages::One(one) => vec![one],
            KeyPackages::Several(several) => several,
        };
        let key_packages: Vec<&mlsrtc_core::KeyPackage> =
            given.iter().map(|one| &one.get().0).collect();
        let psks = crate::convert::psks(psks)?;
        Ok(Group(py.detach(|| {
            MlsRs::join(&self.0, welcome, &key_packages, tree, &psks)
        })?))
    }

    /// A commit that joins from outside (RFC 9420 section 12.4.3.2), on a signed GroupInfo with external_pub.
    ///
    /// tree: the ratchet tree, unless the GroupInfo carries it.
    /// remove: the leaf we left behind; the members' `Successor` rule must allow it.
    /// psks: external pre-shared keys by identifier; the commit injects each of them (RFC 9420 section 8.4).
    /// authenticated_data: sent in the clear, covered by the signature.
    ///
    /// Nothing has happened until the members apply the commit's message; the state to save meanwhile is `commit.group.save()`.
    #[pyo3(signature = (group_info, *, tree=None, remove=None, psks=None, authenticated_data=b"".as_slice()))]
    fn join_external(
        &self,
        py: Python<'_>,
        group_info: &[u8],
        tree: Option<&[u8]>,
        remove: Option<u32>,
        psks: PskArgument<'_>,
        authenticated_data: &[u8],
    ) -> Result<Commit> {
        let psks = crate::convert::psks(psks)?;
        let join = ExternalJoin {
            group_info,
            tree,
            remove,
            psks: &psks,
            authenticated_data,
        };
        Ok(Commit(py.detach(|| MlsRs::join_external(&self.0, &join))?))
    }

    /// The group whose `save()` this is. Raises LocalProtocolError: ``bad_saved_state`` if it is not whole, ``wrong_client``
    /// if it belongs to another signature key.
    fn load_group(&self, py: Python<'_>, state: &Secret) -> Result<Group> {
        let saved = state.value()?;
        Ok(Group(py.detach(|| MlsRs::load(&self.0, &saved))?))
    }

    fn __repr__(&self) -> String {
        format!(
            "Client(suite={}, public={}…)",
            self.suite(),
            short_hex(self.0.signing_key().public())
        )
    }
}

//! Clients, key packages and the rule of succession.

use mlsrtc_core::{Engine, ExternalJoin, Lifetime, MlsRs};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::commit::Commit;
use crate::convert::short_hex;
use crate::credential::Credential;
use crate::errors::Result;
use crate::given::{given, Bytes, Given, KeyPackages, Many, Psks};
use crate::group::Group;
use crate::keys::SigningKey;
use crate::message::Limits;
use crate::secret::Secret;

/// Whose old leaf an external commit may remove: a rule as data (RFC 9420 section 12.4.3.2).
///
/// ``Successor.SAME_IDENTITY``: only one with the same credential. ``Successor.first_fields(n)``: credentials are made of
/// fields, each a big-endian u16 length and that many bytes, and the first n must be equal; so a device may remove the leaf
/// it left behind although its credential now names another membership. The identity of a leaf is always its whole credential.
/// The same rule covers a member that changes its own credential in a commit or an update.
///
/// Each member goes by its own rule, the one of the client that its group was made, joined or loaded with. What a looser
/// one has let through, members with a stricter one refuse (RemoteProtocolError, ``bad_successor``): the group splits over it.
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
    fn first_fields(count: Given<u8>) -> Result<Self> {
        given!(count);
        Ok(Self(mlsrtc_core::Successor::FirstFields(count)))
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

const X509: u16 = 2;

pub(crate) fn rules(
    successor: Option<&Successor>,
    mut credential_types: Vec<u16>,
    roots: Vec<Vec<u8>>,
) -> mlsrtc_core::IdentityRules {
    if !roots.is_empty() {
        credential_types.push(X509);
    }
    mlsrtc_core::IdentityRules {
        successor: successor.map_or_else(Default::default, |given| given.0),
        credential_types,
        roots,
    }
}

/// A key package with its private halves (RFC 9420 section 10): what somebody needs to add us, and what we need to join.
///
/// The private keys live in this object and in what `save()` gives, nowhere else. Joining does not use them up, so that the
/// Welcome of a rival branch opens too; drop the object and its saved form when no Welcome is expected any more.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct KeyPackage(pub(crate) mlsrtc_core::KeyPackage);

#[pymethods]
impl KeyPackage {
    /// The key package whose `save()` this is. Raises LocalProtocolError (``bad_saved_state``) if it is not whole.
    #[staticmethod]
    fn load(data: Given<&Secret>) -> Result<Self> {
        given!(data);
        Ok(Self(mlsrtc_core::KeyPackage::load(&data.value()?)?))
    }

    /// A key package made elsewhere, from its MLSMessage and its private init and leaf encryption keys.
    ///
    /// For tests and for moving a device; keys of one's own come from `Client.key_package()`. Raises LocalProtocolError
    /// (``bad_key_package``) if it is none or the init keys do not fit.
    #[staticmethod]
    fn from_keys(
        public: Given<Bytes<'_>>,
        init_key: Given<&Secret>,
        leaf_key: Given<&Secret>,
    ) -> Result<Self> {
        given!(public, init_key, leaf_key);
        Ok(Self(mlsrtc_core::KeyPackage::from_keys(
            &public,
            &init_key.value()?,
            &leaf_key.value()?,
        )?))
    }

    /// The key package with its private keys, to be kept as a secret.
    fn save(&self) -> Result<Secret> {
        Ok(self.0.save()?.into())
    }

    /// The MLSMessage to publish. With a basic credential and no extensions, the identity and 282 bytes in suite 1, or 2,652
    /// in 0x4D.
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
        PyBytes::new(py, self.0.credential().identity())
    }

    /// The credential in it.
    #[getter]
    fn credential(&self) -> Credential {
        self.0.credential().into()
    }

    /// Whether it says of itself that it may be used more than once.
    #[getter]
    fn last_resort(&self) -> bool {
        self.0.last_resort()
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

/// Who a member is: a credential (RFC 9420 section 5.3), its signature key, what its leaves say, and whom it believes.
///
/// identity: bytes for a basic credential, or a `Credential`. No two leaves of a group may have the same, nor two
/// certificates with one subject.
/// leaf_extensions: (type, contents) pairs that every leaf of this client carries (RFC 9420 section 13.4). Not application_id
/// (type 1, section 5.3.3): the engine refuses every leaf with it.
/// extension_types: further extension types this client understands; a group with context extensions admits only who does.
/// proposal_types: custom types of proposals this client understands. Here and in `extension_types`, what RFC 9420 itself
/// defines is left out without an error: everybody understands it (section 7.2).
/// credential_types: types of credentials it believes besides its own kind. Nothing proves a basic or custom one: look at
/// `Member.credential` yourself.
/// roots: certificates in DER; with any, X.509 credentials are believed whose chain leads to one of them (RFC 9420 section
/// 5.3.1). Their validity periods are checked where `now` is given.
/// successor: whose old leaf an external commit may remove; all members should use the same rule.
/// limits: how far application messages may be out of order and late, and how many past epochs its groups keep.
///
/// It holds no state of any group: key packages, groups and saved states are handed in and out. Everything it makes is of
/// the cipher suite of its key. Raises LocalProtocolError: ``duplicate_extension`` if a type is given twice,
/// ``misplaced_extension`` if it does not belong into a leaf (section 17.3), ``unsupported_extension`` for application_id,
/// ``bad_credential`` if a chain does not lead to a root or is for another key, ``bad_root`` if one of `roots` is no
/// certificate; the text says which.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct Client(pub(crate) mlsrtc_core::Client);

#[pymethods]
impl Client {
    #[new]
    #[pyo3(
        signature = (identity, signing_key, *, leaf_extensions=Given::default(), extension_types=Given::default(), proposal_types=Given::default(), credential_types=Given::default(), roots=Given::default(), successor=None, limits=None),
        text_signature = "(identity, signing_key, *, leaf_extensions=(), extension_types=(), proposal_types=(), credential_types=(), roots=(), successor=None, limits=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn new(
        identity: Given<mlsrtc_core::Credential>,
        signing_key: Given<&SigningKey>,
        leaf_extensions: Given<Many<(u16, Vec<u8>)>>,
        extension_types: Given<Many<u16>>,
        proposal_types: Given<Many<u16>>,
        credential_types: Given<Many<u16>>,
        roots: Given<Many<Vec<u8>>>,
        successor: Option<Given<&Successor>>,
        limits: Option<Given<&Limits>>,
    ) -> Result<Self> {
        given!(
            identity,
            signing_key,
            leaf_extensions,
            extension_types,
            proposal_types
        );
        given!(credential_types, roots, successor, limits);
        let rules = rules(successor, credential_types.0, roots.0);
        let key = signing_key.0.clone();
        let made =
            mlsrtc_core::Client::new(identity, key, leaf_extensions.0, extension_types.0, rules)?
                .with_proposal_types(proposal_types.0)
                .with_limits(limits.map(|given| given.0).unwrap_or_default());
        Ok(Self(made))
    }

    /// The basic credential; empty if the credential is of another kind.
    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.credential().identity())
    }

    /// The credential.
    #[getter]
    fn credential(&self) -> Credential {
        self.0.credential().clone().into()
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
    /// last_resort: it says of itself that it may be used more than once, for want of a fresh one (RFC 9420 section 16.8).
    /// extensions: of the key package, not of its leaf: (type, contents) pairs.
    ///
    /// Raises LocalProtocolError: ``duplicate_extension``, ``misplaced_extension`` if a type does not belong into a key package
    /// (RFC 9420 section 17.3), ``bad_lifetime``.
    #[pyo3(
        signature = (*, not_before=None, not_after=None, last_resort=Given::of(false), extensions=Given::default()),
        text_signature = "($self, /, *, not_before=None, not_after=None, last_resort=False, extensions=())"
    )]
    fn key_package(
        &self,
        py: Python<'_>,
        not_before: Option<Given<u64>>,
        not_after: Option<Given<u64>>,
        last_resort: Given<bool>,
        extensions: Given<Many<(u16, Vec<u8>)>>,
    ) -> Result<KeyPackage> {
        given!(not_before, not_after, last_resort, extensions);
        let Many(mut extensions) = extensions;
        if last_resort {
            extensions.push((mlsrtc_core::LAST_RESORT, Vec::new()));
        }
        let lifetime = Lifetime {
            not_before: not_before.unwrap_or(Lifetime::WIDEST.not_before),
            not_after: not_after.unwrap_or(Lifetime::WIDEST.not_after),
        };
        Ok(KeyPackage(py.detach(|| {
            MlsRs::key_package(&self.0, lifetime, &extensions)
        })?))
    }

    /// A group of one, at epoch 0 (RFC 9420 section 11).
    ///
    /// group_id: should be unique; whoever makes the rules of the application decides how.
    /// extensions: of the GroupContext, (type, contents) pairs; the client must understand them.
    ///
    /// Raises LocalProtocolError: ``duplicate_extension``, ``misplaced_extension`` if a type does not belong into a GroupContext
    /// (RFC 9420 section 17.3), ``bad_extension`` if the contents of one of the standard's are not what its type says,
    /// ``bad_key`` if an external sender's key is none of the group's suite (see `external_senders()`), ``bad_capabilities``.
    #[pyo3(
        signature = (group_id, *, extensions=Given::default()),
        text_signature = "($self, /, group_id, *, extensions=())"
    )]
    fn create_group(
        &self,
        py: Python<'_>,
        group_id: Given<Bytes<'_>>,
        extensions: Given<Many<(u16, Vec<u8>)>>,
    ) -> Result<Group> {
        given!(group_id, extensions);
        Ok(Group(py.detach(|| {
            MlsRs::create(&self.0, &group_id, &extensions.0)
        })?))
    }

    /// The group a Welcome leads to (RFC 9420 section 12.4.3.1).
    ///
    /// key_packages: the one, or those, that it may name; they are not used up.
    /// tree: the ratchet tree, unless the Welcome carries it. Both are checked against the signed tree hash.
    /// psks: external pre-shared keys by identifier, should the Welcome ask for one (RFC 9420 section 8.4); an empty value is
    /// refused, here and wherever else they are given (LocalProtocolError ``bad_psk``).
    ///
    /// now: seconds since 1970, against which the lifetimes of leaves that never committed and the certificates of all are
    /// checked; without it they are not, and no clock is asked.
    ///
    /// Raises RemoteProtocolError: ``no_key_package`` if the Welcome names none of those given, since it is for somebody else;
    /// ``bad_tree``, ``crypto_refused``, ... LocalProtocolError for what the call did not give: ``no_key_package`` (none at all),
    /// ``missing_tree`` if the Welcome carries none either, ``missing_psk``; ``wrong_client`` if a key package has another
    /// signature key.
    #[pyo3(signature = (welcome, key_packages, *, tree=None, psks=None, now=None))]
    #[allow(clippy::too_many_arguments)]
    fn join(
        &self,
        py: Python<'_>,
        welcome: Given<Bytes<'_>>,
        key_packages: Given<KeyPackages>,
        tree: Option<Given<Bytes<'_>>>,
        psks: Option<Given<Psks>>,
        now: Option<Given<u64>>,
    ) -> Result<Group> {
        given!(welcome, key_packages, tree, psks, now);
        let (packages, psks) = (key_packages.list(), psks.unwrap_or_default());
        Ok(Group(py.detach(|| {
            MlsRs::join(&self.0, &welcome, &packages, tree.as_deref(), &psks.0, now)
        })?))
    }

    /// A proposal to be added to a group whose GroupInfo we have (RFC 9420 section 12.1.8.2), as an MLSMessage: some member
    /// takes it in by `Group.with_proposal()`, and its commit's Welcome opens with `key_package`.
    ///
    /// Only the group's identifier, epoch and suite are taken from the GroupInfo; nothing in it is believed. Raises
    /// RemoteProtocolError (``wrong_suite``), LocalProtocolError (``wrong_client``) if the key package has another key.
    #[pyo3(
        signature = (group_info, key_package, *, authenticated_data=Given::default()),
        text_signature = "($self, /, group_info, key_package, *, authenticated_data=b\"\")"
    )]
    fn propose_join<'py>(
        &self,
        py: Python<'py>,
        group_info: Given<Bytes<'_>>,
        key_package: Given<&KeyPackage>,
        authenticated_data: Given<Bytes<'_>>,
    ) -> Result<Bound<'py, PyBytes>> {
        given!(group_info, key_package, authenticated_data);
        let package = &key_package.0;
        let made =
            py.detach(|| MlsRs::propose_join(&self.0, &group_info, package, &authenticated_data))?;
        Ok(PyBytes::new(py, &made))
    }

    /// A commit that joins from outside (RFC 9420 section 12.4.3.2), on a signed GroupInfo with external_pub.
    ///
    /// tree: the ratchet tree, unless the GroupInfo carries it.
    /// remove: the leaf we left behind; the members' `Successor` rule must allow it.
    /// psks: external pre-shared keys by identifier, none empty; the commit injects each of them (RFC 9420 section 8.4).
    /// authenticated_data: sent in the clear, covered by the signature.
    /// now: seconds since 1970; see `join()`.
    ///
    /// Nothing has happened until the members apply the commit's message; the state to save meanwhile is `commit.group.save()`.
    /// Raises RemoteProtocolError: ``bad_signature``, ``bad_tree``, ``wrong_suite``, ... LocalProtocolError: ``missing_tree`` if
    /// neither the GroupInfo nor the call brings one, ``unknown_leaf``, ``duplicate_leaf`` if a leaf of ours is in the group and
    /// `remove` is not that.
    #[pyo3(
        signature = (group_info, *, tree=None, remove=None, psks=None, authenticated_data=Given::default(), now=None),
        text_signature = "($self, /, group_info, *, tree=None, remove=None, psks=None, authenticated_data=b\"\", now=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn join_external(
        &self,
        py: Python<'_>,
        group_info: Given<Bytes<'_>>,
        tree: Option<Given<Bytes<'_>>>,
        remove: Option<Given<u32>>,
        psks: Option<Given<Psks>>,
        authenticated_data: Given<Bytes<'_>>,
        now: Option<Given<u64>>,
    ) -> Result<Commit> {
        given!(group_info, tree, remove, psks, authenticated_data, now);
        let psks = psks.unwrap_or_default();
        let join = ExternalJoin {
            group_info: &group_info,
            tree: tree.as_deref(),
            remove,
            psks: &psks.0,
            authenticated_data: &authenticated_data,
            now,
        };
        Ok(Commit(py.detach(|| MlsRs::join_external(&self.0, &join))?))
    }

    /// The group whose `save()` this is. Raises LocalProtocolError: ``bad_saved_state`` if it is not whole, ``wrong_client``
    /// if it belongs to another signature key.
    fn load_group(&self, py: Python<'_>, state: Given<&Secret>) -> Result<Group> {
        given!(state);
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

//! Groups.

use mlsrtc_core::{CommitRequest, Engine, MlsRs, Padding};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::client::Client;
use crate::commit::{Commit, Founded, Staged};
use crate::convert::{extensions, short_hex};
use crate::errors::Result;
use crate::given::{given, Bytes, Given, KeyPackages, Many, Psks, Text};
use crate::member::Member;
use crate::message::{Outgoing, Received};
use crate::proposal::{Proposal, Proposed, ReInit};
use crate::secret::Secret;

pub(crate) type EngineGroup = <MlsRs as Engine>::Group;

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
    /// section 12.4.3). Without the tree it is about 230 bytes and the same bytes each time. Nobody can join a group that has
    /// ended: LocalProtocolError ``group_ended``.
    #[pyo3(
        signature = (*, with_tree=Given::of(false)),
        text_signature = "($self, /, *, with_tree=False)"
    )]
    fn group_info<'py>(
        &self,
        py: Python<'py>,
        with_tree: Given<bool>,
    ) -> Result<Bound<'py, PyBytes>> {
        given!(with_tree);
        let made = py.detach(|| MlsRs::group_info(&self.0, with_tree))?;
        Ok(PyBytes::new(py, &made))
    }

    /// MLS-Exporter(label, context, length) (RFC 9420 section 8.5): a secret of this epoch for use outside of MLS.
    ///
    /// Choose the context so that no two uses share one. length: bytes, at most 255 hashes (LocalProtocolError ``bad_length``).
    fn export(
        &self,
        label: Given<Text<'_>>,
        context: Given<Bytes<'_>>,
        length: Given<usize>,
    ) -> Result<Secret> {
        given!(label, context, length);
        Ok(MlsRs::export(&self.0, label.as_bytes(), &context, length)?.into())
    }

    /// All sender keys of the epoch in one call, 32 bytes each, in the order of `infos`.
    ///
    /// key i = HKDF-Expand-SHA256(media_secret, infos[i], 32) with media_secret = MLS-Exporter(label, context, 32), which is
    /// wiped at once (docs/protocol.md, media keys). HKDF-SHA256 whatever the group's suite.
    fn sender_keys(
        &self,
        py: Python<'_>,
        label: Given<Text<'_>>,
        context: Given<Bytes<'_>>,
        infos: Given<Many<Vec<u8>>>,
    ) -> Result<Vec<Secret>> {
        given!(label, context, infos);
        let infos: Vec<&[u8]> = infos.0.iter().map(Vec::as_slice).collect();
        let keys = py.detach(|| MlsRs::sender_keys(&self.0, label.as_bytes(), &context, &infos))?;
        Ok(keys.into_iter().map(Secret::from).collect())
    }

    /// The proposals this group knows, which a commit made on it covers: received by `with_proposal()`, or our own. In the
    /// order of their references.
    #[getter]
    fn proposals(&self, py: Python<'_>) -> Result<Vec<Proposed>> {
        let known = py.detach(|| MlsRs::proposals(&self.0))?;
        Ok(known.into_iter().map(Proposed::from).collect())
    }

    /// What is to follow this group, if it has ended (RFC 9420 section 11.2); else None. Nothing more is sent in it then (RFC
    /// 9420 section 12.4.2), and what others send in it all the same is refused; late messages of past epochs still open.
    #[getter]
    fn reinit(&self) -> Option<ReInit> {
        MlsRs::reinit(&self.0).cloned().map(ReInit)
    }

    /// Makes a proposal that a later commit names by reference (RFC 9420 section 12.1); this group stays as it is.
    ///
    /// authenticated_data: sent in the clear, covered by the signature. private: encrypted to the members, with `padding`
    /// (see `encrypt()`); else in the clear. client: with an update, who we are once it is committed (see `commit()`), with
    /// the leaf extensions we have. Go on with `group`, or you could not follow a commit of your own proposal.
    ///
    /// Raises LocalProtocolError: ``unknown_leaf``, ``bad_proposal``, ``bad_successor`` (see `commit()`), ``group_ended``;
    /// ``spent_key`` if private and this group has encrypted before. RemoteProtocolError if
    /// a key package to add is for another suite.
    #[pyo3(
        signature = (proposal, *, authenticated_data=Given::default(), private=Given::of(false), padding=Given::of(Padding::Step), client=None),
        text_signature = "($self, /, proposal, *, authenticated_data=b\"\", private=False, padding=\"step\", client=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn propose(
        &self,
        py: Python<'_>,
        proposal: Given<&Proposal>,
        authenticated_data: Given<Bytes<'_>>,
        private: Given<bool>,
        padding: Given<Padding>,
        client: Option<Given<&Client>>,
    ) -> Result<Outgoing> {
        given!(proposal, authenticated_data, private, padding, client);
        let private = private.then_some(padding);
        let client = client.map(|one| &one.0);
        let made = py.detach(|| {
            MlsRs::propose(&self.0, &proposal.0, &authenticated_data, private, client)
        })?;
        Ok(made.into())
    }

    /// Encrypts an application message (RFC 9420 section 15) to the members of this epoch, signed by our leaf.
    ///
    /// data: at most 536,870,912 bytes, which is half of what a vector of the standard holds (RFC 9420 section 2.1.2).
    /// authenticated_data: as many; sent in the clear, covered by the signature and bound to the message.
    /// padding: ``step`` hides all but the two highest bits of the length, with at least 32 bytes; ``padme`` costs at most
    /// 12 %; ``none``.
    ///
    /// Each key is used once. Go on with the `group` that comes back, and save it before you send: this one is spent, and so
    /// is every other value of the epoch in this process that has not come as far. Raises LocalProtocolError: ``too_long``,
    /// ``spent_key``; ``forked`` in a child process; ``commit_required`` if the group knows proposals (RFC 9420 section 12.4);
    /// ``group_ended``.
    #[pyo3(
        signature = (data, *, authenticated_data=Given::default(), padding=Given::of(Padding::Step)),
        text_signature = "($self, /, data, *, authenticated_data=b\"\", padding=\"step\")"
    )]
    fn encrypt(
        &self,
        py: Python<'_>,
        data: Given<Bytes<'_>>,
        authenticated_data: Given<Bytes<'_>>,
        padding: Given<Padding>,
    ) -> Result<Outgoing> {
        given!(data, authenticated_data, padding);
        let made = py.detach(|| MlsRs::encrypt(&self.0, &data, &authenticated_data, padding))?;
        Ok(made.into())
    }

    /// Opens an application message of this epoch, or of one of the past epochs that are kept (`Limits`).
    ///
    /// Raises RemoteProtocolError: ``message_key_gone`` if it was opened before, or is later than the limits allow;
    /// ``too_far_ahead`` if too many are missing before it; ``wrong_epoch``; ``unknown_leaf`` if it is of a past epoch and its
    /// sender has left since or changed its signature key; ``own_message``; ``bad_signature``; ``group_ended`` if it was sent after
    /// the group's end; ...
    fn decrypt(&self, py: Python<'_>, message: Given<Bytes<'_>>) -> Result<Received> {
        given!(message);
        Ok(py.detach(|| MlsRs::decrypt(&self.0, &message))?.into())
    }

    /// Makes a commit (RFC 9420 section 12.4) of the proposals this group knows and of those given here; this group stays
    /// as it is.
    ///
    /// add: key packages, as the MLSMessages somebody published. remove: leaves. proposals: of other kinds.
    /// psks: the values of the external pre-shared keys that are proposed, by identifier; none empty. One that is proposed
    /// twice is mixed in twice, each time under a nonce of its own.
    /// path: rekey our own path although nothing demands it. A commit that removes, or changes nothing, always has one.
    /// authenticated_data: sent in the clear, covered by the signature.
    /// now: seconds since 1970, against which the lifetimes in the key packages are checked; without it they are not, and
    /// certificates of who is added must be good until the key packages end.
    /// private: encrypted to the members, with `padding` (see `encrypt()`); else in the clear, as a PublicMessage.
    /// client: who we are from this commit on: its credential, signature key and leaf extensions stand in our leaf, if its
    /// `Successor` rule and this group's allow it (``bad_successor``). Load what follows with that client.
    ///
    /// Raises RemoteProtocolError if a key package does not hold (``bad_signature``, ``bad_lifetime``, ``duplicate_leaf``,
    /// ``wrong_suite``, ...), LocalProtocolError if a leaf to remove is none or our own, ``duplicate_leaf`` if a key package is
    /// given twice or is our own, ``missing_psk``, ``bad_psk``, ``bad_proposal`` if the proposals do not go together (RFC 9420
    /// section 12.2), ``bad_successor``, ``group_ended``, ``spent_key`` (see `Commit.parent`).
    #[pyo3(
        signature = (*, add=Given::default(), remove=Given::default(), proposals=Given::default(), psks=None, path=Given::of(false), authenticated_data=Given::default(), now=None, private=Given::of(false), padding=Given::of(Padding::Step), client=None),
        text_signature = "($self, /, *, add=(), remove=(), proposals=(), psks=None, path=False, authenticated_data=b\"\", now=None, private=False, padding=\"step\", client=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn commit(
        &self,
        py: Python<'_>,
        add: Given<Many<Vec<u8>>>,
        remove: Given<Many<u32>>,
        proposals: Given<Many<Py<Proposal>>>,
        psks: Option<Given<Psks>>,
        path: Given<bool>,
        authenticated_data: Given<Bytes<'_>>,
        now: Option<Given<u64>>,
        private: Given<bool>,
        padding: Given<Padding>,
        client: Option<Given<&Client>>,
    ) -> Result<Commit> {
        given!(add, remove, proposals, psks, path);
        given!(authenticated_data, now, private, padding, client);
        let all: Vec<mlsrtc_core::Proposal> = add
            .0
            .into_iter()
            .map(mlsrtc_core::Proposal::Add)
            .chain(remove.0.into_iter().map(mlsrtc_core::Proposal::Remove))
            .chain(proposals.0.iter().map(|one| one.get().0.clone()))
            .collect();
        let psks = psks.unwrap_or_default();
        let request = CommitRequest {
            proposals: &all,
            psks: &psks.0,
            path,
            authenticated_data: &authenticated_data,
            now,
            private: private.then_some(padding),
            client: client.map(|one| &one.0),
        };
        Ok(Commit(py.detach(|| MlsRs::commit(&self.0, &request))?))
    }

    /// Checks somebody else's commit and processes it on a clone.
    ///
    /// psks: external pre-shared keys by identifier, should it ask for one; none empty (LocalProtocolError ``bad_psk``). Without
    /// one that it asks for, LocalProtocolError (``missing_psk``) is raised: whether you should have it, only you know. A member
    /// may ask for what nobody has.
    /// now: seconds since 1970, against which the lifetimes of those who join and all new certificates are checked; without
    /// it they are not.
    /// Raises RemoteProtocolError with the reason (``group_ended`` if this group has ended); this group is as it was, and the
    /// genuine commit still applies.
    #[pyo3(signature = (message, *, psks=None, now=None))]
    fn stage(
        &self,
        py: Python<'_>,
        message: Given<Bytes<'_>>,
        psks: Option<Given<Psks>>,
        now: Option<Given<u64>>,
    ) -> Result<Staged> {
        given!(message, psks, now);
        let keys = psks.unwrap_or_default();
        Ok(Staged(py.detach(|| {
            MlsRs::stage(&self.0, &message, &keys.0, now)
        })?))
    }

    /// The same epoch, knowing a proposal that a later commit may name by reference (RFC 9420 section 12.1).
    ///
    /// The proposal's signature is checked; whether it may be committed is checked with the commit. A commit made on the
    /// result contains it. Raises RemoteProtocolError with the reason (``group_ended`` if this group has ended).
    fn with_proposal(&self, py: Python<'_>, message: Given<Bytes<'_>>) -> Result<Self> {
        given!(message);
        Ok(Self(py.detach(|| MlsRs::with_proposal(&self.0, &message))?))
    }

    /// Makes a group of some of this one's members (RFC 9420 section 11.3), with the same suite and GroupContext extensions.
    ///
    /// group_id: of the new group, another than this one's. key_packages: fresh ones of those others who are to be in it.
    /// Whoever joins it knows that all in it are in this group now; this one goes on beside it.
    ///
    /// The lifetimes in the key packages, and the certificates, are checked against the system's clock (``bad_lifetime``,
    /// ``bad_credential``): the engine makes the commit inside and takes no time for it, nor external pre-shared keys. Key
    /// packages without a lifetime of their own (`Client.key_package()`) are good at any time. Raises LocalProtocolError:
    /// ``not_a_subgroup`` if one of them is no member's, ``duplicate_leaf`` if one is given twice or is our own, ``bad_group_id``.
    /// RemoteProtocolError if a key package does not hold (``wrong_suite``, ``bad_signature``, ...).
    fn branch(
        &self,
        py: Python<'_>,
        group_id: Given<Bytes<'_>>,
        key_packages: Given<Many<Vec<u8>>>,
    ) -> Result<Founded> {
        given!(group_id, key_packages);
        let packages: Vec<&[u8]> = key_packages.0.iter().map(Vec::as_slice).collect();
        Ok(Founded(
            py.detach(|| MlsRs::branch(&self.0, &group_id, &packages))?,
        ))
    }

    /// The group that a member of this one made by `branch()`, at the epoch this group stands on.
    ///
    /// key_packages: the one, or those, that the Welcome may name; with the signature key we have here. tree: unless the
    /// Welcome carries it. now: seconds since 1970; see `Client.join()`.
    ///
    /// Raises RemoteProtocolError: ``not_a_subgroup`` if somebody is in it who is not in this group, ``bad_welcome``,
    /// ``wrong_suite``, ``wrong_epoch``, ...; LocalProtocolError as `Client.join()`.
    #[pyo3(signature = (welcome, key_packages, *, tree=None, now=None))]
    fn join_branch(
        &self,
        py: Python<'_>,
        welcome: Given<Bytes<'_>>,
        key_packages: Given<KeyPackages>,
        tree: Option<Given<Bytes<'_>>>,
        now: Option<Given<u64>>,
    ) -> Result<Self> {
        given!(welcome, key_packages, tree, now);
        let packages = key_packages.list();
        Ok(Self(py.detach(|| {
            MlsRs::join_branch(&self.0, &welcome, &packages, tree.as_deref(), now)
        })?))
    }

    /// Makes the group that follows this one, which has ended (RFC 9420 section 11.2); see `reinit`.
    ///
    /// client: who we are in it, of its cipher suite. key_packages: fresh ones of all the others. One member does this; the
    /// members agree on which. The lifetimes in the key packages are checked against the system's clock, as by `branch()`.
    ///
    /// Raises LocalProtocolError: ``wrong_state`` if this group has not ended, ``wrong_client``, ``bad_capabilities`` if the
    /// client does not understand what was agreed on, ``not_a_subgroup`` if not exactly the members are in it,
    /// ``duplicate_leaf``. RemoteProtocolError if a key package does not hold, or lacks what was agreed on.
    fn reinitialize(
        &self,
        py: Python<'_>,
        client: Given<&Client>,
        key_packages: Given<Many<Vec<u8>>>,
    ) -> Result<Founded> {
        given!(client, key_packages);
        let packages: Vec<&[u8]> = key_packages.0.iter().map(Vec::as_slice).collect();
        let client = &client.0;
        Ok(Founded(py.detach(|| {
            MlsRs::reinitialize(&self.0, client, &packages)
        })?))
    }

    /// The group that another member made by `reinitialize()`.
    ///
    /// client: who we are in it. key_packages: the one, or those, that the Welcome may name. tree: unless the Welcome carries
    /// it. now: seconds since 1970; see `Client.join()`.
    ///
    /// Raises RemoteProtocolError: ``not_a_subgroup``, ``bad_welcome`` if its extensions are not those agreed on,
    /// ``wrong_group``, ``wrong_suite``, ...; LocalProtocolError: ``wrong_state``, and as `Client.join()`.
    #[pyo3(signature = (client, welcome, key_packages, *, tree=None, now=None))]
    #[allow(clippy::too_many_arguments)]
    fn join_reinitialized(
        &self,
        py: Python<'_>,
        client: Given<&Client>,
        welcome: Given<Bytes<'_>>,
        key_packages: Given<KeyPackages>,
        tree: Option<Given<Bytes<'_>>>,
        now: Option<Given<u64>>,
    ) -> Result<Self> {
        given!(client, welcome, key_packages, tree, now);
        let (client, packages) = (&client.0, key_packages.list());
        Ok(Self(py.detach(|| {
            MlsRs::join_reinitialized(&self.0, client, &welcome, &packages, tree.as_deref(), now)
        })?))
    }

    /// Everything this member needs to go on at this epoch, for `Client.load_group()`.
    ///
    /// In groups of 10 to 1,000 with identities of 11 bytes it took 350 to 510 bytes a member in suite 1, and 2,700 to 4,000
    /// in 0x4D: the fewer of the tree's nodes are blank, the more.
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

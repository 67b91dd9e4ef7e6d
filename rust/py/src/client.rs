//! Clients, key packages and the rule of succession.

use mlsrtc_core::{Engine, ExternalJoin, Lifetime, MlsRs};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{short_hex, PskArgument};
use crate::errors::Result;
use crate::group::{Commit, Group};
use crate::keys::SigningKey;
use crate::secret::Secret;

/// Whose old leaf an external commit may remove.
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

/// A key package with its private halves.
#[pyclass(frozen, module = "mlsrtc._core")]
#[derive(Debug)]
pub struct KeyPackage(mlsrtc_core::KeyPackage);

#[pymethods]
impl KeyPackage {
    #[staticmethod]
    fn load(data: &Secret) -> Result<Self> {
        Ok(Self(mlsrtc_core::KeyPackage::load(&data.value()?)?))
    }

    #[staticmethod]
    fn from_keys(public: &[u8], init_key: &Secret, leaf_key: &Secret) -> Result<Self> {
        Ok(Self(mlsrtc_core::KeyPackage::from_keys(
            public,
            &init_key.value()?,
            &leaf_key.value()?,
        )?))
    }

    fn save(&self) -> Result<Secret> {
        Ok(self.0.save()?.into())
    }

    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.public())
    }

    #[getter]
    fn reference<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.reference())
    }

    #[getter]
    fn suite(&self) -> u16 {
        self.0.suite()
    }

    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.identity())
    }

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

/// Who a member is.
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
    #[pyo3(signature = (identity, signing_key, *, leaf_extensions=Vec::new(), extension_types=Vec::new(), successor=None))]
    fn new(
        identity: Vec<u8>,
        signing_key: &SigningKey,
        leaf_extensions: Vec<(u16, Vec<u8>)>,
        extension_types: Vec<u16>,
        successor: Option<&Bound<'_, Successor>>,
    ) -> Result<Self> {
        let rule = rule(successor);
        let key = signing_key.0.clone();
        Ok(Self(mlsrtc_core::Client::new(
            identity,
            key,
            leaf_extensions,
            extension_types,
            rule,
        )?))
    }

    #[getter]
    fn identity<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.identity())
    }

    #[getter]
    fn signing_key(&self) -> SigningKey {
        SigningKey(self.0.signing_key().clone())
    }

    #[getter]
    fn suite(&self) -> u16 {
        self.0.signing_key().suite()
    }

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

    #[pyo3(signature = (group_info, *, tree=None, remove=None, authenticated_data=b"".as_slice()))]
    fn join_external(
        &self,
        py: Python<'_>,
        group_info: &[u8],
        tree: Option<&[u8]>,
        remove: Option<u32>,
        authenticated_data: &[u8],
    ) -> Result<Commit> {
        let join = ExternalJoin {
            group_info,
            tree,
            remove,
            authenticated_data,
        };
        Ok(Commit(py.detach(|| MlsRs::join_external(&self.0, &join))?))
    }

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

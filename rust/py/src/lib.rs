//! The extension module `mlsrtc._core`: newtypes over `mlsrtc-core`, no logic. The whole border is on this page.

use pyo3::prelude::*;

mod client;
mod convert;
mod errors;
mod group;
mod keys;
mod observer;
mod secret;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::client::{Client, KeyPackage, Successor};
    #[pymodule_export]
    use crate::group::{Commit, Group, Member, Staged};
    #[pymodule_export]
    use crate::keys::{random_bytes, suites, verify_signature, SigningKey};
    #[pymodule_export]
    use crate::observer::Observer;
    #[pymodule_export]
    use crate::secret::Secret;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::errors::import(module.py())
    }
}

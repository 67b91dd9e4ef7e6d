//! The extension module `mlsrtc._core`: newtypes over `mlsrtc-core`, no logic. The whole border is on this page.

use pyo3::prelude::*;

mod client;
mod commit;
mod convert;
mod credential;
mod errors;
mod given;
mod group;
mod keys;
mod member;
mod message;
mod observer;
mod proposal;
mod reader;
mod secret;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::client::{Client, KeyPackage, Successor};
    #[pymodule_export]
    use crate::commit::{Commit, Founded, Staged};
    #[pymodule_export]
    use crate::credential::{external_senders, required_capabilities, Credential};
    #[pymodule_export]
    use crate::group::Group;
    #[pymodule_export]
    use crate::keys::{random_bytes, suites, verify_signature, SigningKey};
    #[pymodule_export]
    use crate::member::Member;
    #[pymodule_export]
    use crate::message::{Limits, Outgoing, Received};
    #[pymodule_export]
    use crate::observer::Observer;
    #[pymodule_export]
    use crate::proposal::{Proposal, Proposed, ReInit};
    #[pymodule_export]
    use crate::reader::{
        inspect_commit, inspect_group_info, inspect_key_package, inspect_tree, inspect_welcome,
        interim_transcript_hash, vector_length, CommitFacts, GroupInfoFacts, LeafFacts,
        WelcomeFacts,
    };
    #[pymodule_export]
    use crate::secret::Secret;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::errors::import(module.py())
    }
}

//! The extension module `mlsrtc._core`: newtypes over `mlsrtc-core`, no logic.

mod reader;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::reader::{
        inspect_commit, inspect_group_info, inspect_key_package, inspect_tree, inspect_welcome,
        interim_transcript_hash, vector_length, CommitFacts, GroupInfoFacts, LeafFacts,
        WelcomeFacts,
    };
}

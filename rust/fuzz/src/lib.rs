//! Invariants of `mlsrtc-core` under hostile bytes, through its public API alone. Each target under `fuzz_targets` opens
//! with its invariant in words and calls one function here; `tests/seeds.rs` calls the same functions with the seeds.

mod edit;
mod scene;
mod signed;

pub mod entrance;
pub mod insider;
pub mod member;
pub mod reader;
pub mod snapshot;

use mlsrtc_core::{Error, Fault};

/// Whether bytes from others were refused as such: by their fault, with a reason, and not by a panic that the
/// core's shield caught. Only a pre-shared key that they ask for is the caller's to give, and no target gives one.
fn is_remote(error: &Error) {
    assert!(
        error.fault == Fault::Remote || error.reason == "missing_psk",
        "{error:?}"
    );
    assert!(!error.reason.is_empty());
    assert_ne!(error.reason, "engine_failure", "a panic inside the engine");
}

/// One genuine message of every kind, and a tree: the reader's seeds.
pub fn genuine() -> Vec<Vec<u8>> {
    let scene = &*scene::SCENE;
    let key_package = scene.key_package.public();
    scene
        .all()
        .into_iter()
        .map(<[u8]>::to_vec)
        .chain([key_package])
        .collect()
}

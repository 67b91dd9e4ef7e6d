//! The extension module `mlsrtc._core`: newtypes over `mlsrtc-core`, no logic.

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule]
mod _core {}

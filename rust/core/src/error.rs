//! What went wrong, by whose fault. Knows nothing of the rest; the engine's own errors are mapped in `mls_rs_engine/blame.rs`.
//!
//! An error names what was wrong and where, and never carries the value of a secret.

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller asked for something its own state does not allow.
    Local,
    /// Bytes that came from outside do not hold.
    Remote,
}

/// One error of this crate. `reason` is a slug that a program can read, stable across releases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Error {
    pub fault: Fault,
    pub reason: &'static str,
    pub detail: String,
    /// The structure that was wrong (`welcome`, `commit`), or empty.
    pub place: &'static str,
    /// Where the standard demands it (`RFC 9420 section 6.1`), or empty.
    pub section: &'static str,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn local(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            fault: Fault::Local,
            reason,
            detail: detail.into(),
            place: "",
            section: "",
        }
    }

    pub fn remote(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            fault: Fault::Remote,
            reason,
            detail: detail.into(),
            place: "",
            section: "",
        }
    }

    /// Says in which structure it was found, unless that is known more closely already.
    pub fn at(mut self, place: &'static str) -> Self {
        if self.place.is_empty() {
            self.place = place;
        }
        self
    }

    pub fn section(mut self, section: &'static str) -> Self {
        self.section = section;
        self
    }
}

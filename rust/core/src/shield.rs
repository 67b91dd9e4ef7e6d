//! A panic inside the engine or the provider must not reach Python. Knows nothing of either.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::{Error, Result};

/// Runs the work; should it panic, that is told as an error. Nothing was changed then: all work is done on clones.
pub(crate) fn shielded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::remote(
            "engine_failure",
            "the engine gave up on this input",
        ))
    })
}

/// The same for work on what was saved here, or on what the caller made: then it is not a remote fault.
pub(crate) fn shielded_locally<T>(
    reason: &'static str,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::local(reason, "the engine gave up on it")))
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn a_panic_is_told_as_an_error() {
        let error = shielded::<()>(|| panic!("the engine fell over")).unwrap_err();
        assert_eq!(
            (error.fault, error.reason),
            (Fault::Remote, "engine_failure")
        );
        let error = shielded_locally::<()>("bad_key", || panic!("it fell over")).unwrap_err();
        assert_eq!((error.fault, error.reason), (Fault::Local, "bad_key"));
    }
}

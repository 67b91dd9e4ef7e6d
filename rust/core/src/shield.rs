//! A panic inside the engine or the provider must not reach Python, and a process that was forked must not wait for threads
//! that it does not have. Knows nothing of either.

use std::cell::OnceCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// The process in which work began first, and in which alone the common worker threads may have been started; 0 before.
static BEGAN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// A pool of this thread and no other. Once it is made, the engine's parallel loops run in it.
    static ALONE: OnceCell<Option<ThreadPool>> = const { OnceCell::new() };
}

/// The engine gives work to rayon's threads, which a fork leaves behind: the child would wait for them for ever. There each
/// thread that calls does all of its work itself. No thread is started and no lock is taken for it, so a child of the child
/// is no different.
fn without_lost_threads() {
    let here = process::id();
    let began = match BEGAN.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => here,
        Err(began) => began,
    };
    if began != here {
        ALONE.with(|alone| {
            // It fails for a thread that belongs to a pool already, and none that calls here does.
            alone.get_or_init(|| {
                let pool = ThreadPoolBuilder::new().num_threads(1);
                pool.use_current_thread().build().ok()
            });
        });
    }
}

/// Runs the work; should it panic, that is told as an error. Nothing was changed then: all work is done on clones.
pub(crate) fn shielded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    without_lost_threads();
    shielded_on_one_thread(work)
}

/// The same for what the engine does on the thread that calls, without asking which process this is.
pub(crate) fn shielded_on_one_thread<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
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
    without_lost_threads();
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

//! Which of our own message keys are used, over all values of one epoch in this process.
//!
//! A Group never changes, so the caller may encrypt with an old one again, or stage one commit twice, or load one saved
//! state twice: each of these holds a ratchet that stands where it stood. A key that encrypts twice gives nothing away to
//! AES-GCM's nonce but 32 random bits (the reuse guard, RFC 9420 section 6.3.1), and the receivers, who drop a key when
//! they used it, cannot open the second message. So all values of one epoch and leaf share one count of what was used, and
//! whoever stands behind it is refused. The count lives as long as one of them does; what was saved and is loaded later
//! goes on where it was saved, which is why a state is saved before its message is sent.

use std::collections::HashMap;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use mls_rs_core::crypto::CipherSuiteProvider;

use crate::provider::{failed, sha256_suite};
use crate::Error;

/// How many keys of our two ratchets (RFC 9420 section 9.1) are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Sent {
    pub(super) application: u32,
    pub(super) handshake: u32,
}

/// The count of one epoch and leaf.
#[derive(Debug)]
pub(super) struct Spent {
    process: u32,
    application: AtomicU32,
    handshake: AtomicU32,
}

/// The counts of one process, by epoch and leaf.
struct Ledger {
    /// Whose they are; 0 before they are anybody's.
    process: AtomicU32,
    counts: RwLock<Option<HashMap<Vec<u8>, Weak<Spent>>>>,
}

/// One for each process that counts between the first one and this one. A fork copies a lock as it stands at that moment:
/// if another thread holds it, nobody in the child ever gives it back. So no process waits for the lock of another.
static LEDGERS: [Ledger; 64] = [const { Ledger::new() }; 64];

impl Ledger {
    const fn new() -> Self {
        Self {
            process: AtomicU32::new(0),
            counts: RwLock::new(None),
        }
    }

    /// The ledger of the process `here` among these, and those of the processes that it comes from.
    fn of(here: u32, ledgers: &[Self]) -> crate::Result<(&Self, &[Self])> {
        let is_ours = |one: &Self| {
            let found = &one.process;
            match found.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => true,
                Err(process) => process == here,
            }
        };
        let place = ledgers.iter().position(is_ours).unwrap_or(ledgers.len());
        match ledgers.split_at_checked(place) {
            Some((before, [own, ..])) => Ok((own, before)),
            _ => Err(
                Error::local("forked", "too long a line of forks, each of the one before")
                    .section(SECTION),
            ),
        }
    }

    /// What a process before this one counts and we hold a value of, unless the fork came as it was writing.
    fn inherited(&self, key: &[u8]) -> Option<Arc<Spent>> {
        self.counts.try_read().ok()?.as_ref()?.get(key)?.upgrade()
    }
}

/// Entries of epochs that nobody holds any more are swept when the ledger has grown to twice what was alive.
const SWEEP_FROM: usize = 64;

impl Spent {
    /// The one count for the epoch with this authenticator and for this leaf, at least as far as `sent`.
    pub(super) fn of(authenticator: &[u8], leaf: u32, sent: Sent) -> crate::Result<Arc<Self>> {
        // Nothing may be learned of the authenticator from a table that outlives it for a while.
        let input = [
            b"mlsrtc spent",
            leaf.to_be_bytes().as_slice(),
            authenticator,
        ]
        .concat();
        let key = sha256_suite()?
            .hash(&input)
            .map_err(|error| failed(&error))?;
        let here = process::id();
        let (own, before) = Ledger::of(here, &LEDGERS)?;
        let inherited = before.iter().find_map(|one| one.inherited(&key));
        let mut guard = own.counts.write().unwrap_or_else(PoisonError::into_inner);
        let counts = guard.get_or_insert_with(HashMap::new);
        let found = inherited.or_else(|| counts.get(&key)?.upgrade());
        let count = found.unwrap_or_else(|| {
            Arc::new(Self {
                process: here,
                application: AtomicU32::new(0),
                handshake: AtomicU32::new(0),
            })
        });
        if counts.len() >= SWEEP_FROM && counts.len() == counts.capacity() {
            counts.retain(|_, entry| entry.strong_count() > 0);
        }
        counts.insert(key, Arc::downgrade(&count));
        drop(guard);
        count
            .application
            .fetch_max(sent.application, Ordering::Relaxed);
        count.handshake.fetch_max(sent.handshake, Ordering::Relaxed);
        Ok(count)
    }

    /// Takes the key after `sent` of the application ratchet for good.
    pub(super) fn take_application(&self, sent: Sent) -> crate::Result<Sent> {
        self.take(&self.application, sent.application)
            .map(|application| Sent {
                application,
                ..sent
            })
    }

    /// Takes the key after `sent` of the handshake ratchet for good.
    pub(super) fn take_handshake(&self, sent: Sent) -> crate::Result<Sent> {
        self.take(&self.handshake, sent.handshake)
            .map(|handshake| Sent { handshake, ..sent })
    }

    fn take(&self, count: &AtomicU32, position: u32) -> crate::Result<u32> {
        if self.process != process::id() {
            // The other process has the same keys and another count.
            return Err(Error::local(
                "forked",
                "this group came over a fork: only the process it was made in encrypts with it",
            )
            .section(SECTION));
        }
        let next = position
            .checked_add(1)
            .ok_or_else(|| Error::local("spent_key", "no message key is left").section(SECTION))?;
        match count.compare_exchange(position, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(next),
            Err(_) => Err(Error::local(
                "spent_key",
                "this group has encrypted already: go on with the group that came with the message",
            )
            .section(SECTION)),
        }
    }
}

const SECTION: &str = "RFC 9420 section 6.3.1";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[cfg(unix)]
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::Duration;
    use std::{io, thread};

    use super::*;

    #[test]
    fn one_epoch_and_leaf_has_one_count() {
        let one = Spent::of(b"epoch", 0, Sent::default()).unwrap();
        let again = Spent::of(b"epoch", 0, Sent::default()).unwrap();
        let sent = one.take_application(Sent::default()).unwrap();
        assert_eq!(sent.application, 1);
        assert_eq!(
            again.take_application(Sent::default()).unwrap_err().reason,
            "spent_key"
        );
        assert_eq!(again.take_application(sent).unwrap().application, 2);
        assert_eq!(again.take_handshake(sent).unwrap().handshake, 1);
        let other_leaf = Spent::of(b"epoch", 1, Sent::default()).unwrap();
        assert!(other_leaf.take_application(Sent::default()).is_ok());
    }

    #[test]
    fn a_later_state_moves_the_count_and_an_earlier_one_is_refused() {
        let early = Spent::of(b"later", 0, Sent::default()).unwrap();
        let later = Sent {
            application: 5,
            handshake: 0,
        };
        let loaded = Spent::of(b"later", 0, later).unwrap();
        assert!(early.take_application(Sent::default()).is_err());
        assert_eq!(loaded.take_application(later).unwrap().application, 6);
    }

    #[test]
    fn the_last_key_is_not_used_twice() {
        let last = Sent {
            application: u32::MAX,
            handshake: 0,
        };
        let count = Spent::of(b"last", 0, last).unwrap();
        assert!(count.take_application(last).is_err());
    }

    #[test]
    fn the_ledger_forgets_epochs_that_nobody_holds() {
        for number in 0..20_000_u32 {
            Spent::of(&number.to_be_bytes(), 7, Sent::default()).unwrap();
        }
        let (own, _) = Ledger::of(process::id(), &LEDGERS).unwrap();
        let guard = own.counts.read().unwrap();
        assert!(guard.as_ref().unwrap().len() < 2_000);
    }

    #[test]
    fn no_process_writes_in_the_ledger_of_another() {
        let ledgers = [const { Ledger::new() }; 3];
        for (place, process) in [(0, 7), (1, 5), (1, 5), (0, 7), (2, 9)] {
            let (own, before) = Ledger::of(process, &ledgers).unwrap();
            assert!(std::ptr::eq(own, ledgers.get(place).unwrap()));
            assert_eq!(before.len(), place);
        }
        let refused = Ledger::of(11, &ledgers).err().unwrap();
        assert_eq!(refused.reason, "forked");
    }

    /// The lock is held as the process forks, and nobody in the child gives it back.
    #[cfg(unix)]
    #[test]
    fn a_process_that_was_forked_as_somebody_counted_counts_too() {
        let (own, _) = Ledger::of(process::id(), &LEDGERS).unwrap();
        let guard = own.counts.write().unwrap();
        let in_the_child = || {
            // Whoever waits here for ever is ended, and this test fails.
            thread::spawn(|| {
                thread::sleep(Duration::from_secs(20));
                process::abort();
            });
            let count = Spent::of(b"in the child", 0, Sent::default()).map_err(io::Error::other)?;
            let taken = count.take_application(Sent::default());
            taken.map(drop).map_err(io::Error::other)
        };
        let mut program = Command::new("true");
        // SAFETY: what the child does before it is the program is what this test is about.
        let done = unsafe { program.pre_exec(in_the_child) }.status();
        drop(guard);
        assert!(done.unwrap().success());
    }

    #[test]
    fn a_ledger_that_a_fork_left_locked_is_passed_by() {
        let left = Ledger::new();
        let count = Spent::of(b"left", 0, Sent::default()).unwrap();
        let entry = ([7; 32].to_vec(), Arc::downgrade(&count));
        let mut guard = left.counts.write().unwrap();
        *guard = Some(HashMap::from([entry]));
        assert!(left.inherited(&[7; 32]).is_none());
        drop(guard);
        assert!(Arc::ptr_eq(&left.inherited(&[7; 32]).unwrap(), &count));
    }
}

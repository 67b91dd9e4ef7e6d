//! The table between us and the engine's stores: what one call lays out and what the engine leaves there.
//!
//! mls-rs wants stores that live as long as a group and are shared by its clones; a clone then sees what a rival wrote
//! and refuses its own next epoch. Here a store holds nothing. Before a call into the engine the caller lays
//! on this thread's table what the call may read; what the engine writes lies there until the caller takes it; and the
//! table is cleared when the call is over, also by a panic. The engine uses its stores only on the thread that calls it
//! (its worker threads seal path secrets and hash trees).

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;

use mls_rs::client_builder::PaddingMode;
use mls_rs::mls_rules::EncryptionOptions;

use mls_rs_core::group::{EpochRecord, GroupState, GroupStateStorage};
use mls_rs_core::key_package::{KeyPackageData, KeyPackageStorage};
use mls_rs_core::psk::{ExternalPskId, PreSharedKey, PreSharedKeyStorage};
use zeroize::Zeroizing;

use super::kept::Past;
use crate::engine::PreSharedKeys;
use crate::message::Padding;

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

#[derive(Default)]
struct Table {
    state: Option<Zeroizing<Vec<u8>>>,
    key_packages: Vec<(Vec<u8>, KeyPackageData)>,
    psks: Vec<(Vec<u8>, PreSharedKey)>,
    /// Past epochs of the group with this identifier, to be read.
    past: (Vec<u8>, Vec<Arc<Past>>),
    /// Records of past epochs that the engine wrote: of the one that has just ended, and of those it read and changed.
    ended: Vec<EpochRecord>,
    changed: Vec<EpochRecord>,
    path_required: bool,
    encryption: EncryptionOptions,
}

/// The table while one call lasts.
pub(super) struct Call(());

impl Call {
    pub(super) fn begin() -> Self {
        TABLE.take();
        Self(())
    }

    pub(super) fn lay_state(&self, state: Zeroizing<Vec<u8>>) {
        TABLE.with_borrow_mut(|table| table.state = Some(state));
    }

    pub(super) fn lay_key_packages(&self, key_packages: Vec<(Vec<u8>, KeyPackageData)>) {
        TABLE.with_borrow_mut(|table| table.key_packages = key_packages);
    }

    pub(super) fn lay_psks(&self, psks: &PreSharedKeys) {
        let psks = psks
            .iter()
            .map(|(id, key)| (id.clone(), PreSharedKey::new(key.expose().to_vec())))
            .collect();
        TABLE.with_borrow_mut(|table| table.psks = psks);
    }

    pub(super) fn lay_past(&self, group_id: &[u8], past: &[Arc<Past>]) {
        TABLE.with_borrow_mut(|table| table.past = (group_id.to_vec(), past.to_vec()));
    }

    /// How what is made in this call is encrypted. A handshake message is in the clear unless `private`.
    pub(super) fn encrypt(&self, private: bool, padding: Padding) {
        let padding = match padding {
            Padding::None => PaddingMode::None,
            Padding::Step => PaddingMode::StepFunction,
            Padding::Padme => PaddingMode::Padme,
        };
        TABLE.with_borrow_mut(|table| table.encryption = EncryptionOptions::new(private, padding));
    }

    pub(super) fn require_path(&self, required: bool) {
        TABLE.with_borrow_mut(|table| table.path_required = required);
    }

    pub(super) fn take_state(&self) -> Option<Zeroizing<Vec<u8>>> {
        TABLE.with_borrow_mut(|table| table.state.take())
    }

    /// The record of the epoch that ended in this call.
    pub(super) fn take_ended(&self) -> Option<EpochRecord> {
        TABLE.with_borrow_mut(|table| table.ended.pop())
    }

    /// The record of the past epoch that this call read, as it is now.
    pub(super) fn take_changed(&self) -> Option<EpochRecord> {
        TABLE.with_borrow_mut(|table| table.changed.pop())
    }

    pub(super) fn take_key_package(&self) -> Option<KeyPackageData> {
        TABLE
            .with_borrow_mut(|table| table.key_packages.pop())
            .map(|(_, data)| data)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        TABLE.take();
    }
}

pub(super) fn path_required() -> bool {
    TABLE.with_borrow(|table| table.path_required)
}

pub(super) fn encryption() -> EncryptionOptions {
    TABLE.with_borrow(|table| table.encryption)
}

/// Group states. Records of past epochs are gone with the call, unless it takes them from the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupStates;

impl GroupStateStorage for GroupStates {
    type Error = Infallible;

    fn state(&self, _group_id: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Infallible> {
        Ok(TABLE.with_borrow_mut(|table| table.state.take()))
    }

    fn epoch(
        &self,
        group_id: &[u8],
        epoch_id: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Infallible> {
        Ok(TABLE.with_borrow(|table| {
            let (owner, past) = &table.past;
            past.iter()
                .find(|one| owner == group_id && one.epoch == epoch_id)
                .map(|one| one.record.clone())
        }))
    }

    fn write(
        &mut self,
        state: GroupState,
        epoch_inserts: Vec<EpochRecord>,
        epoch_updates: Vec<EpochRecord>,
    ) -> Result<(), Infallible> {
        #[cfg(test)]
        PAST_EPOCHS.set(epoch_inserts.len());
        TABLE.with_borrow_mut(|table| {
            table.state = Some(state.data);
            table.ended = epoch_inserts;
            table.changed = epoch_updates;
        });
        Ok(())
    }

    /// None: any epoch may follow, so that a rival of the last one can be applied.
    fn max_epoch_id(&self, _group_id: &[u8]) -> Result<Option<u64>, Infallible> {
        Ok(None)
    }
}

/// Key packages. It never forgets one: their owner does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyPackages;

impl KeyPackageStorage for KeyPackages {
    type Error = Infallible;

    fn delete(&mut self, _id: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn insert(&mut self, id: Vec<u8>, data: KeyPackageData) -> Result<(), Infallible> {
        TABLE.with_borrow_mut(|table| table.key_packages.push((id, data)));
        Ok(())
    }

    fn get(&self, id: &[u8]) -> Result<Option<KeyPackageData>, Infallible> {
        Ok(TABLE.with_borrow(|table| {
            table
                .key_packages
                .iter()
                .find(|(reference, _)| reference == id)
                .map(|(_, data)| data.clone())
        }))
    }
}

/// External pre-shared keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Psks;

impl PreSharedKeyStorage for Psks {
    type Error = Infallible;

    fn get(&self, id: &ExternalPskId) -> Result<Option<PreSharedKey>, Infallible> {
        Ok(TABLE.with_borrow(|table| {
            table
                .psks
                .iter()
                .find(|(found, _)| found.as_slice() == &**id)
                .map(|(_, key)| key.clone())
        }))
    }
}

#[cfg(test)]
thread_local! {
    static PAST_EPOCHS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many past epochs the engine handed over when it last wrote on this thread.
#[cfg(test)]
pub(super) fn last_past_epochs() -> usize {
    PAST_EPOCHS.get()
}

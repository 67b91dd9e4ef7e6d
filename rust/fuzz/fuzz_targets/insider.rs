//! A commit whose content was changed and which its author signed and tagged again is refused at whatever depth without
//! a panic, and the genuine commit still leads to its author's epoch; only one that removes its receiver may pass. With
//! whatever changed proposal a member has taken, it can commit, and it takes the genuine commits of others.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| mlsrtc_fuzz::insider::check(input));

#[cfg(not(fuzzing))]
fn main() {}

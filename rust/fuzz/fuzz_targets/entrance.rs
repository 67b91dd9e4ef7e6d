//! A KeyPackage, a Welcome, a GroupInfo or a tree, changed in any way and signed again or not, is taken or refused as
//! its sender's fault, without a panic.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| mlsrtc_fuzz::entrance::check(input));

#[cfg(not(fuzzing))]
fn main() {}

//! Whatever the bytes, the reader answers or refuses; what it takes it takes in one form only: a byte more or less is
//! refused, and no message is of two kinds.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| mlsrtc_fuzz::reader::check(input));

#[cfg(not(fuzzing))]
fn main() {}

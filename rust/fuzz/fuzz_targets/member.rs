//! A member takes no changed message: whatever way it is handed in, what is taken is a genuine commit, proposal or
//! application message, byte for byte. What is refused is the sender's fault, and the genuine message still does what
//! its author meant.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| mlsrtc_fuzz::member::check(input));

#[cfg(not(fuzzing))]
fn main() {}

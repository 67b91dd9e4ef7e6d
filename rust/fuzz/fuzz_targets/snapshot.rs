//! A saved group or key package that was changed, under a right hash or a wrong one, loads or is refused as ours,
//! without a panic; what loads says what it cannot do, can be saved, and the genuine state loads after it.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(
    // The fuzzer's hook would end the run at a panic that the core's shield catches.
    init: std::panic::set_hook(Box::new(|_| ())),
    |input: &[u8]| mlsrtc_fuzz::snapshot::check(input)
);

#[cfg(not(fuzzing))]
fn main() {}

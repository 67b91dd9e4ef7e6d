//! The seeds, replayed without a fuzzer: each keeps its target's invariant.

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("a folder of seeds") {
        let seed = entry.expect("a seed").path();
        check(&fs::read(&seed).unwrap_or_else(|error| panic!("{}: {error}", seed.display())));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn reader() {
    replay("reader", mlsrtc_fuzz::reader::check);
}

#[test]
fn entrance() {
    replay("entrance", mlsrtc_fuzz::entrance::check);
}

#[test]
fn member() {
    replay("member", mlsrtc_fuzz::member::check);
}

#[test]
fn insider() {
    replay("insider", mlsrtc_fuzz::insider::check);
}

#[test]
fn snapshot() {
    replay("snapshot", mlsrtc_fuzz::snapshot::check);
}

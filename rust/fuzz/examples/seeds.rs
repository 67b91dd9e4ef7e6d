//! Writes the seeds: for the reader genuine messages, for the other targets each kind of edit at both ends.
//!
//! `cargo run --manifest-path rust/fuzz/Cargo.toml --example seeds`

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (index, message) in mlsrtc_fuzz::genuine().iter().enumerate() {
        fs::write(
            folder.join("reader").join(format!("genuine-{index}")),
            message,
        )?;
    }
    // Each target's first byte, as far as it makes a difference; who receives a message does not.
    for (target, kinds) in [
        ("entrance", (0..8).collect::<Vec<u8>>()),
        ("member", (0..18).step_by(2).collect()),
        ("insider", (0..12).step_by(2).collect()),
        ("snapshot", (0..6).collect()),
    ] {
        for what in kinds {
            // Nothing, each edit near the beginning, each edit near the end, one of each.
            let edits = |high: u8| (0..8u8).map(move |edit| [edit, high, 13 * (edit + 1), 7]);
            let scripts = [
                vec![],
                edits(0).collect(),
                edits(0x80).collect(),
                vec![[1, 0, 60, 1]],
                vec![[1, 0x80, 60, 1]],
                vec![[5, 0, 40, 90]],
            ];
            for (number, script) in scripts.iter().enumerate() {
                let seed: Vec<u8> = [what].into_iter().chain(script.concat()).collect();
                fs::write(folder.join(target).join(format!("{what}-{number}")), seed)?;
            }
        }
    }
    Ok(())
}

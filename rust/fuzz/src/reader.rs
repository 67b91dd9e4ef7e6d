//! The reader on arbitrary bytes.

use mlsrtc_core::reader::{
    inspect_commit, inspect_group_info, inspect_key_package, inspect_tree, inspect_welcome,
    interim_transcript_hash, vector_length,
};

/// Whatever the bytes: every `inspect` answers or refuses, and what one takes it takes in one form only. With a byte
/// more or a byte less it is refused, and no message is two things at once.
pub fn check(bytes: &[u8]) {
    let takes = |bytes: &[u8]| {
        [
            inspect_commit(bytes).is_ok(),
            inspect_group_info(bytes).is_ok(),
            inspect_key_package(bytes).is_ok(),
            inspect_welcome(bytes).is_ok(),
            inspect_tree(bytes).is_ok(),
        ]
    };
    let taken = takes(bytes);
    assert!(
        taken[..4].iter().filter(|one| **one).count() <= 1,
        "a message of two kinds"
    );
    if taken.contains(&true) {
        let longer = [bytes, &[0]].concat();
        let shorter = &bytes[..bytes.len() - 1];
        for other in [longer.as_slice(), shorter] {
            let other = takes(other);
            assert!(
                taken.iter().zip(other).all(|(one, other)| !(*one && other)),
                "two forms of one structure"
            );
        }
    }
    if let Ok(facts) = inspect_commit(bytes) {
        // What it says about the commit can be checked against anything without harm.
        let _ = facts.verify(bytes, &[7; 32]);
        let _ = facts.transcript(1, &[7; 32]);
        for add in &facts.adds {
            let _ = add.leaf.verify(1, None);
        }
    }
    let _ = interim_transcript_hash(1, bytes, bytes);
    let _ = vector_length(bytes);
}

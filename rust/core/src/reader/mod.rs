//! Reads MLS messages from outside a group (RFC 9420), for `inspect` and for judging a commit by its bytes and its
//! parent alone. Knows no secret, no tree state, no clock, and nothing of mls-rs but its crypto provider.
//!
//! It *slices* what it reads and never writes it again: what was signed or hashed are the bytes received. mls-rs
//! decodes messages that it would encode differently (docs/protocol.md, "Reading"), and keeps half of these
//! structures private.
//!
//! Strict: every length in its shortest form (section 2.1.2), nothing left over, nothing repeated, no value of
//! unknown meaning where its length is unknown too. The grammar is read without recursion, so depth is bounded by
//! the code, and memory by [`MESSAGE_LIMIT`].

mod commit;
mod crypto;
mod cursor;
mod group_info;
mod key_package;
mod leaf;
mod refused;
mod tree;
mod welcome;

pub use commit::{inspect_commit, CommitFacts, PathFacts, Sender};
pub use crypto::interim_transcript_hash;
pub use cursor::vector_length;
pub use group_info::{inspect_group_info, GroupContextFacts, GroupInfoFacts};
pub use key_package::{inspect_key_package, KeyPackageFacts};
pub use leaf::{Credential, Extension, LeafFacts, LeafSource};
pub use refused::{Reason, Refused};
pub use tree::inspect_tree;
pub use welcome::{inspect_welcome, WelcomeFacts};

/// Bytes of one message or tree. The largest tree measured is 680 kB at 1,000 members; a post-quantum suite takes
/// ten times that.
pub const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// Extensions in one list. A list may not repeat a type, and real ones hold a handful.
pub const EXTENSION_LIMIT: usize = 256;

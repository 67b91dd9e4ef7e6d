//! Extensions as values (RFC 9420 section 13.4). Knows nothing of the rest.

/// Extension types and their contents.
pub type Extensions = Vec<(u16, Vec<u8>)>;

//! MLS (RFC 9420) with Matrix identities. Knows no Python, JSON, media, clock, file or socket.

pub mod reader;

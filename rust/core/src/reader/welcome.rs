//! Welcome (RFC 9420 section 12.4.3.1): for whom it is. Everything else in it is encrypted.

use super::cursor::Cursor;
use super::key_package::{read_head, wire_format};
use super::refused::Refused;

/// A Welcome as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WelcomeFacts {
    pub suite: u16,
    /// KeyPackageRef of each joiner it is for.
    pub references: Vec<Vec<u8>>,
}

/// Reads an MLSMessage that carries a Welcome. Only its form is checked.
///
/// # Errors
/// Any reason that concerns form; see [`super::Reason`].
pub fn inspect_welcome(message: &[u8]) -> Result<WelcomeFacts, Refused> {
    Cursor::read_all(message, "welcome", |cursor| {
        read_head(cursor, wire_format::WELCOME)?;
        let suite = cursor.u16("cipher_suite")?;
        let references = cursor.vector("secrets", |inside| {
            let reference = inside.opaque("new_member")?.to_vec();
            inside.opaque("kem_output")?;
            inside.opaque("ciphertext")?;
            Ok(reference)
        })?;
        cursor.opaque("encrypted_group_info")?;
        Ok(WelcomeFacts { suite, references })
    })
}

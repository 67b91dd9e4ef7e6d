//! Reading MLS structures strictly. Knows the codec, nothing of groups.

use mls_rs::{MlsMessage, WireFormat};
use mls_rs_codec::{byte_vec, MlsDecode};

use crate::{Error, Result};

/// Decodes all of `bytes`. The engine's own `from_bytes` ignores what follows the structure, and a post office that
/// appends a byte would then make two messages of one.
pub(crate) fn decode<T: MlsDecode>(bytes: &[u8], place: &'static str) -> Result<T> {
    let mut rest = bytes;
    let malformed = |detail: String| {
        Error::remote("malformed", detail)
            .at(place)
            .section("RFC 9420 section 2.1")
    };
    let value = T::mls_decode(&mut rest).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes too many", rest.len())));
    }
    Ok(value)
}

/// An MLSMessage of one of the wanted kinds (RFC 9420 section 6). The engine does not look at the version in the header
/// of every kind, so that two encodings of one message would pass.
pub(crate) fn message(
    bytes: &[u8],
    place: &'static str,
    wanted: &[WireFormat],
) -> Result<MlsMessage> {
    const MLS10: [u8; 2] = [0, 1];
    let message: MlsMessage = decode(bytes, place)?;
    if !bytes.starts_with(&MLS10) {
        return Err(Error::remote("unsupported_version", "only mls10 is known")
            .at(place)
            .section("RFC 9420 section 6"));
    }
    if !wanted.contains(&message.wire_format()) {
        return Err(
            Error::remote("wrong_message_type", format!("{wanted:?} was expected"))
                .at(place)
                .section("RFC 9420 section 6"),
        );
    }
    Ok(message)
}

/// `opaque value<V>` (RFC 9420 section 2.1.2).
pub(crate) fn put(bytes: &[u8], writer: &mut Vec<u8>) -> Result<()> {
    byte_vec::mls_encode(&bytes, writer)
        .map_err(|error| Error::local("too_long", error.to_string()))
}

//! Reading MLS structures strictly. Knows the codec, nothing of groups.

use mls_rs::{MlsMessage, WireFormat};
use mls_rs_codec::{byte_vec, MlsDecode};

use crate::{Error, Result};

/// Decodes all of `bytes`. The engine's own `from_bytes` ignores what follows the structure, and a post office that
/// appends a byte would then make two messages of one.
pub(crate) fn decode<T: MlsDecode>(bytes: &[u8], place: &'static str) -> Result<T> {
    let mut rest = bytes;
    let malformed = |detail: String, section| {
        Error::remote("malformed", detail)
            .at(place)
            .section(section)
    };
    let value =
        T::mls_decode(&mut rest).map_err(|error| malformed(error.to_string(), section(&error)))?;
    if !rest.is_empty() {
        let detail = format!("{} bytes too many", rest.len());
        return Err(malformed(detail, PRESENTATION));
    }
    Ok(value)
}

const PRESENTATION: &str = "RFC 9420 section 2.1";

/// Where the standard demands what cannot be decoded. Two checks that the codec does not know have numbers of the engine's
/// own, in its `extension/list.rs` and `group/framing.rs`.
pub(crate) fn section(error: &mls_rs_codec::Error) -> &'static str {
    const REPEATED_EXTENSION: u8 = 1;
    const PADDING_NOT_ZERO: u8 = 5;
    match error {
        mls_rs_codec::Error::Custom(REPEATED_EXTENSION) => "RFC 9420 section 13.4",
        mls_rs_codec::Error::Custom(PADDING_NOT_ZERO) => "RFC 9420 section 6.3.1",
        _ => PRESENTATION,
    }
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

//! Reading MLS structures strictly. Knows the codec, nothing of groups.

use mls_rs::{MlsMessage, WireFormat};
use mls_rs_codec::{byte_vec, MlsDecode, MlsEncode};

use crate::reader::Reason;
use crate::{Error, Result};

/// Decodes all of `bytes`. The engine's own `from_bytes` ignores what follows the structure, and a post office that
/// appends a byte would then make two messages of one.
pub(crate) fn decode<T: MlsDecode>(bytes: &[u8], place: &'static str) -> Result<T> {
    let mut rest = bytes;
    let value = T::mls_decode(&mut rest).map_err(|error| {
        let (reason, section) = unreadable(&error);
        Error::remote(reason, error.to_string())
            .at(place)
            .section(section)
    })?;
    if !rest.is_empty() {
        let detail = format!("{} bytes too many", rest.len());
        let reason = Reason::TrailingBytes;
        return Err(Error::remote(reason.slug(), detail)
            .at(place)
            .section(reason.section()));
    }
    Ok(value)
}

/// Why something cannot be decoded, in the reader's words, and where the standard demands it. Two checks that the codec does
/// not know have numbers of the engine's own, in its `extension/list.rs` and `group/framing.rs`.
pub(crate) fn unreadable(error: &mls_rs_codec::Error) -> (&'static str, &'static str) {
    use mls_rs_codec::Error as E;
    const REPEATED_EXTENSION: u8 = 1;
    const PADDING_NOT_ZERO: u8 = 5;
    let reason = match error {
        E::UnexpectedEOF => Reason::Truncated,
        E::UnexpectedTrailingData => Reason::TrailingBytes,
        E::VarIntMinimumLengthEncoding => Reason::LengthNotMinimal,
        E::InvalidVarIntPrefix(_) => Reason::LengthReserved,
        E::OptionOutOfRange(_) | E::UnsupportedEnumDiscriminant => Reason::UnknownValue,
        E::Custom(REPEATED_EXTENSION) => Reason::RepeatedExtension,
        E::Custom(PADDING_NOT_ZERO) => return ("malformed", "RFC 9420 section 6.3.1"),
        _ => return ("malformed", "RFC 9420 section 2.1"),
    };
    (reason.slug(), reason.section())
}

/// An MLSMessage of one of the wanted kinds (RFC 9420 section 6). The engine does not look at the version in the header
/// of every kind, so that two encodings of one message would pass. What is in it is read once the header is right.
pub(crate) fn message(
    bytes: &[u8],
    place: &'static str,
    wanted: &[WireFormat],
) -> Result<MlsMessage> {
    const MLS10: [u8; 2] = [0, 1];
    let refused = |reason: Reason, detail: String| {
        Error::remote(reason.slug(), detail)
            .at(place)
            .section(reason.section())
    };
    if bytes.first_chunk().is_some_and(|version| *version != MLS10) {
        return Err(refused(
            Reason::UnknownVersion,
            "only mls10 is known".to_owned(),
        ));
    }
    let is = |format: [u8; 2]| {
        wanted.iter().any(|one| {
            one.mls_encode_to_vec()
                .is_ok_and(|written| written == format)
        })
    };
    if let Some([_, _, high, low]) = bytes.first_chunk() {
        if !is([*high, *low]) {
            return Err(refused(
                Reason::WrongWireFormat,
                format!("{wanted:?} was expected"),
            ));
        }
    }
    decode(bytes, place)
}

/// `opaque value<V>` (RFC 9420 section 2.1.2).
pub(crate) fn put(bytes: &[u8], writer: &mut Vec<u8>) -> Result<()> {
    byte_vec::mls_encode(&bytes, writer)
        .map_err(|error| Error::local("too_long", error.to_string()))
}

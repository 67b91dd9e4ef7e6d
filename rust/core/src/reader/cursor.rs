//! A place in bytes that moves forward only: the TLS presentation language (RFC 8446 section 3) with the lengths of
//! RFC 9420 section 2.1.2. Knows no MLS structure.

use super::refused::{Reason, Refused, Within};
use super::MESSAGE_LIMIT;

/// What is left to read. Copying it marks a place, and [`Cursor::since`] gives the bytes read from there.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads all of `bytes` with `read`, which must leave nothing.
    pub(super) fn read_all<T>(
        bytes: &'a [u8],
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        if bytes.len() > MESSAGE_LIMIT {
            return Err(Refused::new(Reason::Oversized, name));
        }
        let mut cursor = Self { rest: bytes };
        let value = read(&mut cursor).within(name)?;
        cursor.end().within(name)?;
        Ok(value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn end(&self) -> Result<(), Refused> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Refused::new(Reason::TrailingBytes, ""))
        }
    }

    /// The bytes between `mark`, an earlier copy of this cursor, and here.
    pub(super) fn since(&self, mark: Self) -> &'a [u8] {
        let length = mark.rest.len().saturating_sub(self.rest.len());
        mark.rest.get(..length).unwrap_or_default()
    }

    pub(super) fn take(&mut self, length: usize, name: &str) -> Result<&'a [u8], Refused> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Refused::new(Reason::Truncated, name)),
        }
    }

    fn array<const N: usize>(&mut self, name: &str) -> Result<[u8; N], Refused> {
        let taken = self.take(N, name)?;
        <[u8; N]>::try_from(taken).map_err(|_| Refused::new(Reason::Truncated, name))
    }

    pub(super) fn u8(&mut self, name: &str) -> Result<u8, Refused> {
        self.array(name).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, name: &str) -> Result<u16, Refused> {
        self.array(name).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, name: &str) -> Result<u32, Refused> {
        self.array(name).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, name: &str) -> Result<u64, Refused> {
        self.array(name).map(u64::from_be_bytes)
    }

    /// A length in 1, 2 or 4 bytes: the two high bits say which, and the shortest form is the only one.
    fn length(&mut self, name: &str) -> Result<usize, Refused> {
        let first = self.u8(name)?;
        let low = u32::from(first & 0x3f);
        let (value, least) = match first >> 6 {
            0 => (low, 0),
            1 => (low << 8 | u32::from(self.u8(name)?), 1 << 6),
            2 => {
                let [b, c, d] = self.array(name)?;
                (u32::from_be_bytes([first & 0x3f, b, c, d]), 1 << 14)
            }
            _ => return Err(Refused::new(Reason::LengthReserved, name)),
        };
        if value < least {
            return Err(Refused::new(Reason::LengthNotMinimal, name));
        }
        usize::try_from(value).map_err(|_| Refused::new(Reason::Oversized, name))
    }

    /// `opaque name<V>`.
    pub(super) fn opaque(&mut self, name: &str) -> Result<&'a [u8], Refused> {
        let length = self.length(name)?;
        self.take(length, name)
    }

    /// `Item name<V>`: calls `read` until the vector is empty.
    pub(super) fn vector<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Self) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        let mut inside = Self {
            rest: self.opaque(name)?,
        };
        let mut items = Vec::new();
        while !inside.is_empty() {
            items.push(read(&mut inside).within(name)?);
        }
        Ok(items)
    }

    /// `Item name<V>` whose items are only checked.
    pub(super) fn skip_vector(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Self) -> Result<(), Refused>,
    ) -> Result<u32, Refused> {
        let mut inside = Self {
            rest: self.opaque(name)?,
        };
        let mut count = 0_u32;
        while !inside.is_empty() {
            read(&mut inside).within(name)?;
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// `optional<T>` (section 2.1.1): whether the value follows.
    pub(super) fn present(&mut self, name: &str) -> Result<bool, Refused> {
        match self.u8(name)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Refused::new(Reason::UnknownValue, name)),
        }
    }
}

/// The length that a vector's header holds; `header` is the header and nothing else.
///
/// # Errors
/// [`Reason::Truncated`], [`Reason::TrailingBytes`], [`Reason::LengthNotMinimal`], [`Reason::LengthReserved`].
pub fn vector_length(header: &[u8]) -> Result<usize, Refused> {
    Cursor::read_all(header, "length", |cursor| cursor.length(""))
}

/// The header of a vector of `length` bytes, for what is hashed or signed around received bytes.
pub(super) fn write_opaque(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Refused> {
    let oversized = || Refused::new(Reason::Oversized, "");
    let length = u32::try_from(bytes.len()).map_err(|_| oversized())?;
    match length {
        0..=0x3f => out.extend_from_slice(&length.to_be_bytes()[3..]),
        0x40..=0x3fff => out.extend_from_slice(&(length | 0x4000).to_be_bytes()[2..]),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(length | 0x8000_0000).to_be_bytes()),
        _ => return Err(oversized()),
    }
    out.extend_from_slice(bytes);
    Ok(())
}

//! Why bytes were refused, and where in them. Knows no bytes: a refusal never repeats what it refuses.

use std::fmt;

/// Why, as a program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Truncated,
    TrailingBytes,
    LengthNotMinimal,
    LengthReserved,
    Oversized,
    UnknownVersion,
    WrongWireFormat,
    NotACommit,
    UnknownValue,
    RepeatedExtension,
    BadTree,
    WrongSender,
    WrongLeafSource,
    RepeatedKey,
    BadKey,
    UnsupportedSuite,
    BadSignature,
}

impl Reason {
    /// The slug that crosses into Python. Stable across releases.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::LengthReserved => "length_reserved",
            Self::Oversized => "oversized",
            Self::UnknownVersion => "unsupported_version",
            Self::WrongWireFormat => "wrong_message_type",
            Self::NotACommit => "not_a_commit",
            Self::UnknownValue => "unknown_value",
            Self::RepeatedExtension => "repeated_extension",
            Self::BadTree => "bad_tree",
            Self::WrongSender => "wrong_sender",
            Self::WrongLeafSource => "wrong_leaf_source",
            Self::RepeatedKey => "repeated_key",
            Self::BadKey => "bad_key",
            Self::UnsupportedSuite => "unsupported_suite",
            Self::BadSignature => "bad_signature",
        }
    }

    /// Where RFC 9420 demands it.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Truncated | Self::TrailingBytes | Self::UnknownValue => "RFC 9420 section 2.1",
            Self::LengthNotMinimal | Self::LengthReserved => "RFC 9420 section 2.1.2",
            // A size is ours to bound.
            Self::Oversized => "",
            Self::RepeatedExtension => "RFC 9420 section 13.4",
            Self::UnknownVersion | Self::WrongWireFormat | Self::NotACommit | Self::WrongSender => {
                "RFC 9420 section 6"
            }
            Self::BadTree => "RFC 9420 section 12.4.3.3",
            Self::WrongLeafSource => "RFC 9420 section 7.3",
            Self::RepeatedKey => "RFC 9420 section 10.1",
            Self::BadKey => "RFC 9420 sections 7.1, 7.2, 10",
            Self::UnsupportedSuite => "RFC 9420 section 17.1",
            Self::BadSignature => "RFC 9420 section 5.1.2",
        }
    }
}

/// One refusal: `place` is a dotted path into the message, `commit.path.leaf_node.extensions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    pub place: String,
}

impl Refused {
    pub(super) fn new(reason: Reason, place: &str) -> Self {
        Self {
            reason,
            place: place.to_owned(),
        }
    }

    /// A structure of another suite than the one it was put to, or of none.
    pub fn unsupported_suite(place: &str) -> Self {
        Self::new(Reason::UnsupportedSuite, place)
    }

    /// The same refusal, seen from the structure around it.
    #[must_use]
    fn within(mut self, outer: &str) -> Self {
        let dot = if self.place.is_empty() { "" } else { "." };
        self.place = format!("{outer}{dot}{}", self.place);
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.reason.slug())
    }
}

impl std::error::Error for Refused {}

/// Names the structure in which reading went wrong.
pub(super) trait Within<T> {
    fn within(self, outer: &str) -> Result<T, Refused>;
}

impl<T> Within<T> for Result<T, Refused> {
    fn within(self, outer: &str) -> Self {
        self.map_err(|refused| refused.within(outer))
    }
}

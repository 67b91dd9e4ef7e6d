//! Where an extension may stand (RFC 9420 section 17.3). Knows the types, and nothing of their contents.

use crate::extensions::Extensions;
use crate::{Error, Result, LAST_RESORT};

const APPLICATION_ID: u16 = 1;
const RATCHET_TREE: u16 = 2;
const REQUIRED_CAPABILITIES: u16 = 3;
const EXTERNAL_PUB: u16 = 4;
const EXTERNAL_SENDERS: u16 = 5;

/// What carries a list of extensions that a caller chooses. A GroupInfo has the engine's only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    KeyPackage,
    Leaf,
    GroupContext,
}

impl Place {
    /// A type stands at most once in a list (section 13.4), and where the registry has it.
    pub(crate) fn check(self, extensions: &Extensions) -> Result<()> {
        let mut types: Vec<u16> = extensions.iter().map(|(number, _)| *number).collect();
        types.sort_unstable();
        if types.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Error::local(
                "duplicate_extension",
                "an extension type is given twice",
            ));
        }
        for number in types {
            if !self.allows(number) {
                let detail = format!("type {number} does not belong into {}", self.name());
                return Err(
                    Error::local("misplaced_extension", detail).section("RFC 9420 section 17.3")
                );
            }
            // Section 7.2 forbids to list it in the capabilities, and the engine refuses, by the letter of section 7.3, what
            // is not listed: our own leaf as well as everybody else's.
            if number == APPLICATION_ID {
                return Err(Error::local(
                    "unsupported_extension",
                    "the engine takes no leaf with an application_id",
                )
                .section("RFC 9420 section 5.3.3"));
            }
        }
        Ok(())
    }

    fn allows(self, number: u16) -> bool {
        match number {
            // Reserved.
            0 => false,
            APPLICATION_ID => self == Self::Leaf,
            RATCHET_TREE | EXTERNAL_PUB => false,
            REQUIRED_CAPABILITIES | EXTERNAL_SENDERS => self == Self::GroupContext,
            LAST_RESORT => self == Self::KeyPackage,
            _ => self != Self::GroupContext || !grease(number),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::KeyPackage => "a KeyPackage",
            Self::Leaf => "a LeafNode",
            Self::GroupContext => "a GroupContext",
        }
    }
}

/// 0x0A0A, 0x1A1A and so on to 0xEAEA (section 13.5): what nobody means anything by.
const fn grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && high & 0x0f == 0x0a && high < 0xf0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_says_where() {
        let places = [Place::KeyPackage, Place::Leaf, Place::GroupContext];
        for (number, allowed) in [
            (0, [false, false, false]),
            (APPLICATION_ID, [false, true, false]),
            (RATCHET_TREE, [false, false, false]),
            (REQUIRED_CAPABILITIES, [false, false, true]),
            (EXTERNAL_PUB, [false, false, false]),
            (EXTERNAL_SENDERS, [false, false, true]),
            (LAST_RESORT, [true, false, false]),
            (0x0a0a, [true, true, false]),
            (0xeaea, [true, true, false]),
            (0xfafa, [true, true, true]),
            (0xf001, [true, true, true]),
            (6, [true, true, true]),
        ] {
            assert_eq!(
                places.map(|place| place.allows(number)),
                allowed,
                "{number}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_is_told() {
        let reason = |place: Place, types: &[u16]| {
            let list = types.iter().map(|number| (*number, vec![])).collect();
            place.check(&list).map_err(|error| error.reason)
        };
        assert_eq!(reason(Place::Leaf, &[7, 0xf001]), Ok(()));
        assert_eq!(reason(Place::Leaf, &[7, 8, 7]), Err("duplicate_extension"));
        assert_eq!(reason(Place::Leaf, &[3]), Err("misplaced_extension"));
        assert_eq!(reason(Place::Leaf, &[1]), Err("unsupported_extension"));
        assert_eq!(
            reason(Place::GroupContext, &[1]),
            Err("misplaced_extension")
        );
    }
}

//! Who may take whose place: the rule by which an external commit may remove an old leaf, as data.
//! Knows credentials as bytes and nothing of groups.

/// Whether one basic credential may succeed another (RFC 9420 sections 5.3.1 and 12.4.3.2).
///
/// The identity of a leaf is always its whole credential: two leaves of one group never share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Successor {
    /// Only the same credential.
    #[default]
    SameIdentity,
    /// Credentials are fields, each a u16 big-endian length and that many bytes; the first `n` must be equal.
    /// A credential may always succeed itself.
    ///
    /// For a call they are user, device and member id, and the first two count: a device that rejoins under a fresh
    /// member id may remove the leaf it left behind.
    FirstFields(u8),
}

impl Successor {
    pub(crate) fn allows(self, old: &[u8], new: &[u8]) -> bool {
        match self {
            Self::SameIdentity => old == new,
            Self::FirstFields(_) if old == new => true,
            Self::FirstFields(count) => match (fields(old), fields(new)) {
                (Some(old), Some(new)) => {
                    let count = usize::from(count);
                    old.len() >= count
                        && new.len() >= count
                        && old.iter().zip(&new).take(count).all(|(a, b)| a == b)
                }
                _ => false,
            },
        }
    }
}

/// The fields of a credential, or nothing if it is not made of them to the last byte.
fn fields(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (field, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        found.push(field);
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(parts: &[&str]) -> Vec<u8> {
        parts
            .iter()
            .flat_map(|part| [&(part.len() as u16).to_be_bytes()[..], part.as_bytes()].concat())
            .collect()
    }

    #[test]
    fn same_identity_wants_every_byte() {
        assert!(Successor::SameIdentity.allows(b"a", b"a"));
        assert!(!Successor::SameIdentity.allows(b"a", b"b"));
    }

    #[test]
    fn first_fields_ignore_the_rest() {
        let rule = Successor::FirstFields(2);
        let old = credential(&["@u:h", "DEV", "one"]);
        assert!(rule.allows(&old, &credential(&["@u:h", "DEV", "two"])));
        assert!(!rule.allows(&old, &credential(&["@u:h", "OTHER", "one"])));
        assert!(!rule.allows(&old, &credential(&["@v:h", "DEV", "one"])));
    }

    #[test]
    fn first_fields_refuse_what_is_not_made_of_fields() {
        let rule = Successor::FirstFields(2);
        let good = credential(&["u", "d", "m"]);
        assert!(!rule.allows(b"\x00\x05abc", b"\x00\x05abd"));
        assert!(!rule.allows(&good, &[good.as_slice(), b"\x00"].concat()));
        assert!(!rule.allows(&credential(&["u"]), &credential(&["u", "d"])));
        assert!(rule.allows(b"not fields", b"not fields"));
    }
}

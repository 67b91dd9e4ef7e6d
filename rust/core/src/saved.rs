//! The outside of everything that is saved: what it is, in which version, and whether it is whole.
//! Knows nothing of what is inside. Versions are never reused: what an older release saved must load for ever (models.md, OpenMLS).

use mls_rs_core::crypto::CipherSuiteProvider;
use zeroize::Zeroizing;

use crate::provider::{failed, sha256_suite};
use crate::{Error, Result, Secret};

/// What a saved value is. The value of each is its fourth byte, after `MLS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Group = b'g',
    KeyPackage = b'k',
}

const VERSION: u8 = 1;
const DIGEST: usize = 32;

/// `MLS` ‖ kind ‖ version ‖ SHA-256(body) ‖ body. The hash finds a disk's faults, not a forger's.
pub(crate) fn seal(kind: Kind, body: &[u8]) -> Result<Secret> {
    let digest = sha256_suite()?.hash(body).map_err(|error| failed(&error))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(5 + DIGEST + body.len()));
    bytes.extend_from_slice(&[b'M', b'L', b'S', kind as u8, VERSION]);
    bytes.extend_from_slice(&digest);
    bytes.extend_from_slice(body);
    Ok(Secret::from(bytes))
}

pub(crate) fn open(kind: Kind, saved: &Secret) -> Result<Zeroizing<Vec<u8>>> {
    let broken = |detail: &str| Error::local("bad_saved_state", detail);
    let (head, rest) = saved
        .expose()
        .split_first_chunk::<5>()
        .ok_or_else(|| broken("too short"))?;
    let (digest, body) = rest
        .split_first_chunk::<DIGEST>()
        .ok_or_else(|| broken("too short"))?;
    let [b'M', b'L', b'S', found, version] = *head else {
        return Err(broken("this was not saved here"));
    };
    if found != kind as u8 {
        return Err(broken("this is another kind of saved state"));
    }
    if version != VERSION {
        return Err(Error::local(
            "bad_saved_state",
            format!("version {version} is newer than this library"),
        ));
    }
    if sha256_suite()?.hash(body).map_err(|error| failed(&error))? != digest {
        return Err(broken("the checksum does not match"));
    }
    Ok(Zeroizing::new(body.to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed() {
        let saved = seal(Kind::Group, b"body").unwrap();
        assert_eq!(open(Kind::Group, &saved).unwrap().as_slice(), b"body");
    }

    #[test]
    fn refuses_every_flipped_bit_and_every_cut() {
        let saved = seal(Kind::Group, b"body").unwrap();
        for position in 0..saved.length() {
            for bit in 0..8 {
                let mut bytes = saved.expose().to_vec();
                *bytes.get_mut(position).unwrap() ^= 1 << bit;
                assert_eq!(
                    open(Kind::Group, &Secret::from(bytes)).unwrap_err().reason,
                    "bad_saved_state"
                );
            }
            let cut = Secret::from(saved.expose().split_at(position).0);
            assert_eq!(
                open(Kind::Group, &cut).unwrap_err().reason,
                "bad_saved_state"
            );
        }
        assert_eq!(
            open(Kind::KeyPackage, &saved).unwrap_err().reason,
            "bad_saved_state"
        );
    }
}

//! The outside of everything that is saved: what it is, in which version, and whether it is whole.
//! Knows nothing of what is inside. Versions are never reused: what an older release saved must load for ever.

use mls_rs_codec::byte_vec;
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

/// The body is what the engine wrote.
const BARE: u8 = 1;
/// Of a group only: opaque<V> of what the engine wrote, then what we keep beside it.
const WITH_KEPT: u8 = 2;
const DIGEST: usize = 32;

/// A group: in the first form as long as there is nothing beside the engine's state.
pub(crate) fn seal_group(state: &[u8], kept: Option<&[u8]>) -> Result<Secret> {
    let Some(kept) = kept else {
        return seal(Kind::Group, state);
    };
    let mut body = Zeroizing::new(Vec::with_capacity(state.len() + kept.len() + 4));
    byte_vec::mls_encode(&state, &mut body)
        .map_err(|error| Error::local("too_long", error.to_string()))?;
    body.extend_from_slice(kept);
    seal_as(Kind::Group, WITH_KEPT, &body)
}

/// What the engine wrote, and what `read` finds after it.
pub(crate) fn open_group<T: Default>(
    saved: &Secret,
    read: impl FnOnce(&mut &[u8]) -> Result<T>,
) -> Result<(Zeroizing<Vec<u8>>, T)> {
    let (version, body) = open_as(Kind::Group, saved)?;
    if version == BARE {
        return Ok((body, T::default()));
    }
    let broken = |detail: String| Error::local("bad_saved_state", detail);
    let mut rest = body.as_slice();
    let state: Vec<u8> =
        byte_vec::mls_decode(&mut rest).map_err(|error| broken(error.to_string()))?;
    let state = Zeroizing::new(state);
    let kept = read(&mut rest)?;
    if rest.is_empty() {
        Ok((state, kept))
    } else {
        Err(broken(format!("{} bytes too many", rest.len())))
    }
}

pub(crate) fn seal(kind: Kind, body: &[u8]) -> Result<Secret> {
    seal_as(kind, BARE, body)
}

pub(crate) fn open(kind: Kind, saved: &Secret) -> Result<Zeroizing<Vec<u8>>> {
    open_as(kind, saved).map(|(_, body)| body)
}

/// `MLS` ‖ kind ‖ version ‖ SHA-256(body) ‖ body. The hash finds a disk's faults, not a forger's.
fn seal_as(kind: Kind, version: u8, body: &[u8]) -> Result<Secret> {
    let digest = sha256_suite()?.hash(body).map_err(|error| failed(&error))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(5 + DIGEST + body.len()));
    bytes.extend_from_slice(&[b'M', b'L', b'S', kind as u8, version]);
    bytes.extend_from_slice(&digest);
    bytes.extend_from_slice(body);
    Ok(Secret::from(bytes))
}

fn open_as(kind: Kind, saved: &Secret) -> Result<(u8, Zeroizing<Vec<u8>>)> {
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
    if version != BARE && (kind, version) != (Kind::Group, WITH_KEPT) {
        return Err(Error::local(
            "bad_saved_state",
            format!("version {version} is newer than this library"),
        ));
    }
    if sha256_suite()?.hash(body).map_err(|error| failed(&error))? != digest {
        return Err(broken("the checksum does not match"));
    }
    Ok((version, Zeroizing::new(body.to_vec())))
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

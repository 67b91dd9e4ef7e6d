//! What a group keeps beside the engine's own state: how far it has sent and read, and what past epochs need.
//! Knows the codec, and the one record of the engine that it hands back as it came.

use std::collections::BTreeMap;
use std::sync::Arc;

use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use zeroize::Zeroizing;

use super::spent::Sent;
use crate::message::Limits;
use crate::proposal::ReInit;
use crate::Error;

/// For each sender how many generations are passed: the next one that was not seen.
pub(super) type Seen = BTreeMap<u32, u32>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) sent: Sent,
    pub(super) seen: Seen,
    /// Oldest first.
    pub(super) past: Vec<Arc<Past>>,
    pub(super) reinit: Option<ReInit>,
}

/// An epoch gone by.
#[derive(Clone, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(super) struct Past {
    pub(super) epoch: u64,
    /// The engine's record of it: what opens its messages, its resumption PSK, who signed in it.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(super) record: Zeroizing<Vec<u8>>,
    pub(super) seen: Seen,
}

impl std::fmt::Debug for Past {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Past(epoch={})", self.epoch)
    }
}

/// `Kept` as it is saved.
#[derive(MlsSize, MlsEncode, MlsDecode)]
struct Saved {
    sent: Sent,
    seen: Seen,
    past: Vec<Past>,
    reinit: Option<SavedReInit>,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct SavedReInit {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    group_id: Vec<u8>,
    version: u16,
    suite: u16,
    extensions: Vec<SavedExtension>,
}

#[derive(MlsSize, MlsEncode, MlsDecode)]
struct SavedExtension {
    number: u16,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    data: Vec<u8>,
}

impl Kept {
    /// What there is to keep in the next epoch. `record` is the engine's record of the one that ends.
    pub(super) fn next(
        &self,
        limits: Limits,
        epoch: u64,
        record: Option<Zeroizing<Vec<u8>>>,
        reinit: Option<ReInit>,
    ) -> Self {
        let mut past = self.past.clone();
        past.extend(record.map(|record| {
            Arc::new(Past {
                epoch,
                record,
                seen: self.seen.clone(),
            })
        }));
        let mut next = Self {
            past,
            reinit,
            ..Self::default()
        };
        next.limit(limits);
        next
    }

    /// Forgets the oldest epochs, down to what the limits allow.
    pub(super) fn limit(&mut self, limits: Limits) {
        let over = self
            .past
            .len()
            .saturating_sub(usize::from(limits.past_epochs()));
        self.past.drain(..over);
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn encode(&self) -> crate::Result<Zeroizing<Vec<u8>>> {
        let saved = Saved {
            sent: self.sent,
            seen: self.seen.clone(),
            past: self.past.iter().map(|one| (**one).clone()).collect(),
            reinit: self.reinit.as_ref().map(|found| SavedReInit {
                group_id: found.group_id.clone(),
                version: found.version,
                suite: found.suite,
                extensions: found
                    .extensions
                    .iter()
                    .map(|(number, data)| SavedExtension {
                        number: *number,
                        data: data.clone(),
                    })
                    .collect(),
            }),
        };
        saved
            .mls_encode_to_vec()
            .map(Zeroizing::new)
            .map_err(|error| Error::local("too_long", error.to_string()))
    }

    pub(super) fn decode(rest: &mut &[u8]) -> crate::Result<Self> {
        let saved = Saved::mls_decode(rest)
            .map_err(|error| Error::local("bad_saved_state", error.to_string()))?;
        Ok(Self {
            sent: saved.sent,
            seen: saved.seen,
            past: saved.past.into_iter().map(Arc::new).collect(),
            reinit: saved.reinit.map(|found| ReInit {
                group_id: found.group_id,
                version: found.version,
                suite: found.suite,
                extensions: found
                    .extensions
                    .into_iter()
                    .map(|one| (one.number, one.data))
                    .collect(),
            }),
        })
    }
}

//! Private messages as values (RFC 9420 section 6.3): how they are padded, and how much may be late. Knows no engine.

use crate::{Error, Result};

/// How the length of what is encrypted is hidden (RFC 9420 section 15.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    None,
    /// Up to the next of four steps between two powers of two, and at least to 32 bytes.
    #[default]
    Step,
    /// Padmé: tells O(log log n) bits of the length, and costs at most 12 %.
    Padme,
}

/// How far messages may come out of order, and how late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    ahead: u32,
    behind: u32,
    past_epochs: u16,
}

impl Limits {
    /// The engine's own limit.
    pub const MOST_AHEAD: u32 = 1024;

    /// `ahead`: messages of one sender that may be missing before the one that came. `behind`: how far behind the newest
    /// a missing one may be; the keys of older ones are dropped. `past_epochs`: of so many past epochs a group keeps what
    /// opens late messages, and the resumption PSK.
    pub fn new(ahead: u32, behind: u32, past_epochs: u16) -> Result<Self> {
        if ahead > Self::MOST_AHEAD {
            return Err(Error::local(
                "bad_limit",
                format!("at most {} messages ahead", Self::MOST_AHEAD),
            ));
        }
        Ok(Self {
            ahead,
            behind,
            past_epochs,
        })
    }

    pub fn ahead(&self) -> u32 {
        self.ahead
    }

    pub fn behind(&self) -> u32 {
        self.behind
    }

    pub fn past_epochs(&self) -> u16 {
        self.past_epochs
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ahead: Self::MOST_AHEAD,
            behind: 128,
            past_epochs: 0,
        }
    }
}

/// Something that was made in an epoch and leaves the epoch as it is: a proposal or an application message.
#[derive(Debug)]
pub struct Outgoing<G> {
    pub message: Vec<u8>,
    /// Where its author goes on: it knows the proposal, and that the key of the message is used.
    pub group: G,
}

/// An application message that was opened.
#[derive(Debug)]
pub struct Received<G> {
    pub data: Vec<u8>,
    pub sender: u32,
    pub epoch: u64,
    /// Its place among the sender's messages of that epoch, from 0.
    pub generation: u32,
    pub authenticated_data: Vec<u8>,
    /// Where the receiver goes on: the key of the message is gone.
    pub group: G,
}

//! MLS (RFC 9420) with Matrix identities. Knows no Python, JSON, media, clock, file or socket.
//!
//! `Engine` is the one small trait everything stands on; `MlsRs` is the engine in use. A group is a value: one member
//! at one epoch. It never changes; what leads to the next epoch gives a new one: state in, state out.

mod client;
mod credential;
mod encoding;
mod engine;
mod error;
mod extensions;
mod key_package;
mod message;
mod mls_rs_engine;
mod place;
#[cfg(feature = "awslc")]
mod post_quantum;
mod proposal;
mod provider;
pub mod reader;
mod saved;
mod secret;
mod shield;
mod signing;
mod successor;
#[cfg(feature = "awslc")]
mod x_wing;

pub use client::Client;
pub use credential::{Credential, IdentityRules};
pub use engine::{
    Changes, CommitRequest, Committed, Engine, ExternalJoin, Founded, GroupContext, Member,
    PreSharedKeys,
};
pub use error::{Error, Fault, Result};
pub use extensions::Extensions;
pub use key_package::{KeyPackage, Lifetime, LAST_RESORT};
pub use message::{Limits, Outgoing, Padding, Received};
pub use mls_rs_engine::{external_senders, required_capabilities, MlsRs};
pub use proposal::{Proposal, Proposed, Proposer, ReInit, ResumptionPsk};
pub use provider::{post_quantum_suites, random_bytes, suites};
pub use secret::Secret;
pub use signing::{verify_signature, SigningKey};
pub use successor::Successor;

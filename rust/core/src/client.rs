//! Who a member is. Holds no state of any group: everything else is handed in and out.

use crate::engine::Extensions;
use crate::{Error, Limits, Result, SigningKey, Successor};

/// A basic credential, the key that signs for it, and what its leaves say.
///
/// Only basic credentials (RFC 9420 section 5.3) are known yet; another kind becomes another way to make a `Client`.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) identity: Vec<u8>,
    pub(crate) signing_key: SigningKey,
    pub(crate) leaf_extensions: Extensions,
    pub(crate) extension_types: Vec<u16>,
    pub(crate) proposal_types: Vec<u16>,
    pub(crate) successor: Successor,
    pub(crate) limits: Limits,
}

impl Client {
    /// `extension_types` are the extensions a leaf says it understands (RFC 9420 section 7.2, capabilities), besides
    /// those it carries itself.
    pub fn new(
        identity: Vec<u8>,
        signing_key: SigningKey,
        leaf_extensions: Extensions,
        extension_types: Vec<u16>,
        successor: Successor,
    ) -> Result<Self> {
        distinct(&leaf_extensions)?;
        let mut types: Vec<u16> = extension_types;
        types.extend(leaf_extensions.iter().map(|(number, _)| *number));
        types.sort_unstable();
        types.dedup();
        Ok(Self {
            identity,
            signing_key,
            leaf_extensions,
            extension_types: types,
            proposal_types: Vec::new(),
            successor,
            limits: Limits::default(),
        })
    }

    /// Says in its leaves that it understands these types of proposals (RFC 9420 section 7.2), besides the standard's.
    pub fn with_proposal_types(mut self, mut proposal_types: Vec<u16>) -> Self {
        proposal_types.sort_unstable();
        proposal_types.dedup();
        self.proposal_types = proposal_types;
        self
    }

    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub fn identity(&self) -> &[u8] {
        &self.identity
    }

    pub fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }
}

/// An extension type stands at most once in a list (RFC 9420 section 13.4).
pub(crate) fn distinct(extensions: &Extensions) -> Result<()> {
    let mut types: Vec<u16> = extensions.iter().map(|(number, _)| *number).collect();
    types.sort_unstable();
    if types.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Error::local(
            "duplicate_extension",
            "an extension type is given twice",
        ));
    }
    Ok(())
}

//! Who a member is. Holds no state of any group: everything else is handed in and out.

use crate::extensions::Extensions;
use crate::place::Place;
use crate::{Credential, IdentityRules, Limits, Result, SigningKey};

/// A credential, the key that signs for it, what its leaves say, and whom it believes.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) credential: Credential,
    pub(crate) signing_key: SigningKey,
    pub(crate) leaf_extensions: Extensions,
    pub(crate) extension_types: Vec<u16>,
    pub(crate) proposal_types: Vec<u16>,
    pub(crate) rules: IdentityRules,
    pub(crate) limits: Limits,
}

impl Client {
    /// `extension_types` are the extensions a leaf says it understands (RFC 9420 section 7.2, capabilities), besides
    /// those it carries itself.
    pub fn new(
        credential: Credential,
        signing_key: SigningKey,
        leaf_extensions: Extensions,
        extension_types: Vec<u16>,
        mut rules: IdentityRules,
    ) -> Result<Self> {
        // A client believes credentials of its own kind.
        rules.credential_types.push(credential.number());
        rules.credential_types.sort_unstable();
        rules.credential_types.dedup();
        rules.check_roots()?;
        rules.check(&credential, signing_key.public_key())?;
        Place::Leaf.check(&leaf_extensions)?;
        let mut types: Vec<u16> = extension_types;
        types.extend(leaf_extensions.iter().map(|(number, _)| *number));
        types.sort_unstable();
        types.dedup();
        Ok(Self {
            credential,
            signing_key,
            leaf_extensions,
            extension_types: types,
            proposal_types: Vec::new(),
            rules,
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

    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    pub fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }
}

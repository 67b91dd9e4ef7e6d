//! Who a leaf says it is (RFC 9420 section 5.3), and the rule by which others are believed, as data. Knows no group.

use mls_rs_core::crypto::SignaturePublicKey;
use mls_rs_core::identity::{
    BasicCredential, CertificateChain, Credential as EngineCredential, CredentialType,
    CustomCredential, DerCertificate, SigningIdentity,
};
use mls_rs_core::time::MlsTime;

use crate::provider;
use crate::{Error, Result, Successor};

/// A credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// Bytes that nothing proves: the application binds the signature key to them by other means.
    Basic(Vec<u8>),
    /// DER certificates, the leaf's first, each certified by the next.
    X509(Vec<Vec<u8>>),
    /// A type that the application registered or took from the private range, and its contents.
    Custom { number: u16, data: Vec<u8> },
}

pub(crate) const BASIC: u16 = 1;
pub(crate) const X509: u16 = 2;

impl Credential {
    /// The number in the registry (RFC 9420 section 17.5).
    pub fn number(&self) -> u16 {
        match self {
            Self::Basic(_) => BASIC,
            Self::X509(_) => X509,
            Self::Custom { number, .. } => *number,
        }
    }

    /// The bytes of a basic credential; empty for another kind.
    pub fn identity(&self) -> &[u8] {
        match self {
            Self::Basic(identity) => identity,
            _ => &[],
        }
    }

    /// A chain has a certificate, and a custom credential a type of its own.
    pub fn check(&self) -> Result<()> {
        let bad = |detail: &str| {
            Err(Error::local("bad_credential", detail).section("RFC 9420 section 5.3"))
        };
        match self {
            Self::X509(chain) if chain.is_empty() => bad("a chain has at least one certificate"),
            Self::Custom { number, .. } if *number <= X509 => bad("a type of the standard"),
            _ => Ok(()),
        }
    }

    pub(crate) fn to_engine(&self) -> EngineCredential {
        match self {
            Self::Basic(identity) => {
                EngineCredential::Basic(BasicCredential::new(identity.clone()))
            }
            Self::X509(chain) => EngineCredential::X509(CertificateChain::from(chain.clone())),
            Self::Custom { number, data } => EngineCredential::Custom(CustomCredential::new(
                CredentialType::new(*number),
                data.clone(),
            )),
        }
    }

    pub(crate) fn of_engine(found: &EngineCredential) -> Self {
        match found {
            EngineCredential::Basic(basic) => Self::Basic(basic.identifier().to_vec()),
            EngineCredential::X509(chain) => {
                Self::X509(chain.iter().map(|one| one.to_vec()).collect())
            }
            EngineCredential::Custom(custom) => Self::Custom {
                number: custom.credential_type().raw_value(),
                data: custom.data().to_vec(),
            },
            // The engine's kinds are an open set; what it reads is one of these.
            other => Self::Custom {
                number: other.credential_type().raw_value(),
                data: Vec::new(),
            },
        }
    }
}

/// Whose credentials are believed, and who may take whose place: all members of a group should have the same rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityRules {
    pub successor: Successor,
    /// Types of credentials that are believed.
    pub credential_types: Vec<u16>,
    /// DER certificates that X.509 chains must lead to.
    pub roots: Vec<Vec<u8>>,
}

impl IdentityRules {
    /// One root that is no certificate would make the engine believe no chain at all.
    pub(crate) fn check_roots(&self) -> Result<()> {
        for (place, root) in self.roots.iter().enumerate() {
            provider::subject(&DerCertificate::from(root.clone())).map_err(|_| {
                let detail = format!("roots[{place}] is no X.509 certificate in DER");
                Error::local("bad_root", detail).section("RFC 9420 section 5.3.1")
            })?;
        }
        Ok(())
    }

    /// Whether the credential may speak for the key. `time` in seconds since 1970 is what certificates are checked against;
    /// without it only their signatures are.
    pub(crate) fn believe(
        &self,
        identity: &SigningIdentity,
        time: Option<MlsTime>,
    ) -> std::result::Result<(), String> {
        let number = identity.credential.credential_type().raw_value();
        if !self.credential_types.contains(&number) {
            return Err(format!("credential type {number} is not believed here"));
        }
        let EngineCredential::X509(chain) = &identity.credential else {
            return Ok(());
        };
        let roots: Vec<DerCertificate> = self
            .roots
            .iter()
            .cloned()
            .map(DerCertificate::from)
            .collect();
        let certified = provider::certified_key(chain, &roots, time)?;
        if certified == identity.signature_key {
            Ok(())
        } else {
            Err("the certificate is for another key".to_owned())
        }
    }

    /// Whether a client can speak with this credential and key: whoever has the same rule believes it.
    pub(crate) fn check(&self, credential: &Credential, key: &SignaturePublicKey) -> Result<()> {
        credential.check()?;
        self.believe(
            &SigningIdentity::new(credential.to_engine(), key.clone()),
            None,
        )
        .map_err(|detail| Error::local("bad_credential", detail).section("RFC 9420 section 5.3.1"))
    }

    /// No two leaves of a group are the same by this: all of a basic or custom credential, the subject of a certificate.
    pub(crate) fn identity(credential: &EngineCredential) -> std::result::Result<Vec<u8>, String> {
        match credential {
            EngineCredential::Basic(basic) => Ok(basic.identifier().to_vec()),
            EngineCredential::X509(chain) => {
                provider::subject(chain.leaf().ok_or("an empty chain")?)
            }
            other => Ok(match Credential::of_engine(other) {
                Credential::Custom { number, data } => {
                    [number.to_be_bytes().as_slice(), &data].concat()
                }
                _ => Vec::new(),
            }),
        }
    }
}

impl Successor {
    /// Whether the second may take the first one's place. The kind of a credential never changes.
    pub(crate) fn allows_credential(
        self,
        old: &EngineCredential,
        new: &EngineCredential,
    ) -> std::result::Result<bool, String> {
        Ok(match (old, new) {
            (EngineCredential::Basic(old), EngineCredential::Basic(new)) => {
                self.allows(old.identifier(), new.identifier())
            }
            (EngineCredential::X509(_), EngineCredential::X509(_)) => {
                IdentityRules::identity(old)? == IdentityRules::identity(new)?
            }
            (EngineCredential::Custom(old), EngineCredential::Custom(new)) => {
                old.credential_type() == new.credential_type()
                    && self.allows(old.data(), new.data())
            }
            _ => false,
        })
    }
}

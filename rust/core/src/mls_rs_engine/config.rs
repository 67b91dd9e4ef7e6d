//! How mls-rs is set up: the provider, who is who, what a commit looks like.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mls_rs::client_builder::{
    BaseConfig, ClientBuilder, WithCryptoProvider, WithGroupStateStorage, WithIdentityProvider,
    WithKeyPackageRepo, WithMlsRules, WithPskStore,
};
use mls_rs::external_client::builder::{
    ExternalBaseConfig, ExternalClientBuilder, WithCryptoProvider as ObserverWithCryptoProvider,
    WithIdentityProvider as ObserverWithIdentityProvider,
};
use mls_rs::external_client::ExternalClient;
use mls_rs::group::proposal::{ProposalType, ReInitProposal, RemoveProposal, UpdateProposal};
use mls_rs::group::{GroupContext, Roster, Sender};
use mls_rs::identity::SigningIdentity;
use mls_rs::mls_rules::{
    CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle,
};
use mls_rs::{Client as EngineClient, ExtensionList, MlsRules};
use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::error::IntoAnyError;
use mls_rs_core::extension::ExtensionType;
use mls_rs_core::identity::{CredentialType, IdentityProvider, MemberValidationContext};
use mls_rs_core::time::MlsTime;

use super::asked;
use super::blame::Doing;
use super::extensions::{list, NO_SENDERS_KEY};
use super::proposals::reinit;
use super::table::{encryption, path_required, Call, GroupStates, KeyPackages, Psks};
use crate::extensions::Extensions;
use crate::place::Place;
use crate::provider::{is_signature_key, Provider};
use crate::{Client, Error, IdentityRules, KeyPackage, Lifetime, Result};

pub(super) type Config = WithMlsRules<
    Rules,
    WithCryptoProvider<
        Provider,
        WithIdentityProvider<
            Identities,
            WithPskStore<
                Psks,
                WithKeyPackageRepo<KeyPackages, WithGroupStateStorage<GroupStates, BaseConfig>>,
            >,
        >,
    >,
>;

pub(super) type ObserverConfig = ObserverWithCryptoProvider<
    Provider,
    ObserverWithIdentityProvider<Identities, ExternalBaseConfig>,
>;

pub(super) fn engine_client(client: &Client, lifetime: Option<Lifetime>) -> EngineClient<Config> {
    engine_client_for(client, lifetime, &[])
}

/// Of the leaf that founds a branch, from the first moment there is: with the engine's year it would be over since 1971. An
/// external commit adds the time of day to it, although its leaf has none.
const LONG: Lifetime = Lifetime {
    not_before: Lifetime::WIDEST.not_before,
    not_after: Lifetime::WIDEST.not_after / 2,
};

/// `extension_types` are understood besides the client's own.
fn engine_client_for(
    client: &Client,
    lifetime: Option<Lifetime>,
    extension_types: &[u16],
) -> EngineClient<Config> {
    let identity = signing_identity(client);
    let suite = CipherSuite::new(client.signing_key.suite());
    let builder = ClientBuilder::new()
        .group_state_storage(GroupStates)
        .key_package_repo(KeyPackages)
        .psk_store(Psks)
        .identity_provider(Identities::new(&client.rules, Some(suite)))
        .crypto_provider(Provider::new())
        .mls_rules(Rules)
        // The types every implementation must know may not be listed (RFC 9420 section 7.2).
        .extension_types(
            client
                .extension_types
                .iter()
                .chain(extension_types)
                .map(|number| ExtensionType::new(*number))
                .filter(|kind| !kind.is_default())
                .collect::<BTreeSet<_>>(),
        )
        .custom_proposal_types(
            client
                .proposal_types
                .iter()
                .map(|number| ProposalType::new(*number))
                .filter(|kind| !kind.is_default()),
        )
        .signing_identity(identity, client.signing_key.secret().clone(), suite);
    let Lifetime {
        not_before,
        not_after,
    } = lifetime.unwrap_or(LONG);
    builder
        .key_package_lifetime(Duration::from_secs(not_after.saturating_sub(not_before)))
        .build()
}

pub(super) fn signing_identity(client: &Client) -> SigningIdentity {
    SigningIdentity::new(
        client.credential.to_engine(),
        client.signing_key.public_key().clone(),
    )
}

pub(super) fn observer_client(
    rules: &IdentityRules,
    suite: Option<CipherSuite>,
    sender: Option<&Client>,
) -> ExternalClient<ObserverConfig> {
    let builder = ExternalClientBuilder::new()
        .identity_provider(Identities::new(rules, suite))
        .crypto_provider(Provider::new());
    match sender {
        Some(client) => builder
            .signer(
                client.signing_key.secret().clone(),
                signing_identity(client),
            )
            .build(),
        None => builder.build(),
    }
}

pub(super) fn key_package(
    client: &Client,
    lifetime: Lifetime,
    extensions: &Extensions,
) -> Result<KeyPackage> {
    if lifetime.not_after < lifetime.not_before {
        return Err(Error::local(
            "bad_lifetime",
            "not_after lies before not_before",
        ));
    }
    Place::KeyPackage.check(extensions)?;
    let types: Vec<u16> = extensions.iter().map(|(number, _)| *number).collect();
    let call = Call::begin();
    engine_client_for(client, Some(lifetime), &types)
        .generate_key_package_message(
            list(extensions),
            list(&client.leaf_extensions),
            Some(MlsTime::from(lifetime.not_before)),
        )
        .map_err(|error| Doing::Alone("key_package").failed(error))?;
    let data = call
        .take_key_package()
        .ok_or_else(|| Error::local("store_failure", "the engine kept the key package"))?;
    KeyPackage::from_data(data)
}

/// One Welcome for all, the tree beside it; commits in the clear (whoever orders them reads them) unless the call says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules;

impl MlsRules for Rules {
    type Error = NotBelieved;

    /// A leaf is changed once by a commit: a removal comes before an update, and of several updates one is taken (RFC 9420
    /// section 12.2). The engine blanks the leaf once, and would name the other updates in its commit all the same, so that
    /// nobody could follow it. Nor does a commit of ours end the group for one that not all can be in, whoever proposed it.
    fn filter_proposals(
        &self,
        direction: CommitDirection,
        _: CommitSource,
        roster: &Roster<'_>,
        _: &GroupContext,
        mut proposals: ProposalBundle,
    ) -> std::result::Result<ProposalBundle, NotBelieved> {
        if direction == CommitDirection::Send {
            let mut changed: BTreeSet<u32> = proposals
                .by_type::<RemoveProposal>()
                .map(|one| one.proposal.to_remove())
                .collect();
            proposals.retain_by_type::<UpdateProposal, _, _>(|one| {
                Ok(match one.sender {
                    Sender::Member(leaf) => changed.insert(leaf),
                    _ => true,
                })
            })?;
            proposals.retain_by_type::<ReInitProposal, _, _>(|one| {
                Ok(asked::can_follow(&reinit(&one.proposal), roster).is_ok())
            })?;
        }
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _: &Roster<'_>,
        _: &GroupContext,
        _: &ProposalBundle,
    ) -> std::result::Result<CommitOptions, NotBelieved> {
        Ok(CommitOptions::new()
            .with_path_required(path_required())
            .with_ratchet_tree_extension(false)
            .with_single_welcome_message(true)
            .with_allow_external_commit(false))
    }

    fn encryption_options(
        &self,
        _: &Roster<'_>,
        _: &GroupContext,
    ) -> std::result::Result<EncryptionOptions, NotBelieved> {
        Ok(encryption())
    }
}

/// The rules of identity, as the engine asks for them. It asks on its worker threads too.
#[derive(Clone, Debug)]
pub(crate) struct Identities {
    rules: Arc<IdentityRules>,
    /// The group's, of which an external sender's key must be.
    suite: Option<CipherSuite>,
}

impl Identities {
    fn new(rules: &IdentityRules, suite: Option<CipherSuite>) -> Self {
        let rules = Arc::new(rules.clone());
        Self { rules, suite }
    }
}

/// Why a credential is not believed, or that the key beside it is none.
#[derive(Clone, Debug)]
pub(crate) enum NotBelieved {
    Credential(String),
    Key,
}

impl fmt::Display for NotBelieved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Credential(detail) => detail,
            Self::Key => NO_SENDERS_KEY,
        })
    }
}

impl std::error::Error for NotBelieved {}

impl IntoAnyError for NotBelieved {
    fn into_dyn_error(self) -> std::result::Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(self.into())
    }
}

impl IdentityProvider for Identities {
    type Error = NotBelieved;

    fn validate_member(
        &self,
        signing_identity: &SigningIdentity,
        time: Option<MlsTime>,
        _: MemberValidationContext<'_>,
    ) -> std::result::Result<(), NotBelieved> {
        self.rules
            .believe(signing_identity, time)
            .map_err(NotBelieved::Credential)
    }

    /// A member's key has signed its leaf, an external sender's nothing yet.
    fn validate_external_sender(
        &self,
        signing_identity: &SigningIdentity,
        time: Option<MlsTime>,
        _: Option<&ExtensionList>,
    ) -> std::result::Result<(), NotBelieved> {
        self.rules
            .believe(signing_identity, time)
            .map_err(NotBelieved::Credential)?;
        let key = &signing_identity.signature_key;
        match self.suite {
            Some(suite) if !is_signature_key(suite.raw_value(), key) => Err(NotBelieved::Key),
            _ => Ok(()),
        }
    }

    fn identity(
        &self,
        signing_identity: &SigningIdentity,
        _: &ExtensionList,
    ) -> std::result::Result<Vec<u8>, NotBelieved> {
        IdentityRules::identity(&signing_identity.credential).map_err(NotBelieved::Credential)
    }

    fn valid_successor(
        &self,
        predecessor: &SigningIdentity,
        successor: &SigningIdentity,
        _: &ExtensionList,
    ) -> std::result::Result<bool, NotBelieved> {
        let rule = self.rules.successor;
        rule.allows_credential(&predecessor.credential, &successor.credential)
            .map_err(NotBelieved::Credential)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        self.rules
            .credential_types
            .iter()
            .map(|number| CredentialType::new(*number))
            .collect()
    }
}

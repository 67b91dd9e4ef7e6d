//! How mls-rs is set up: the provider, who is who, what a commit looks like.

use std::collections::BTreeSet;
use std::fmt;
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
use mls_rs::group::proposal::{ProposalType, RemoveProposal, UpdateProposal};
use mls_rs::group::{GroupContext, Roster, Sender};
use mls_rs::identity::basic::BasicCredential;
use mls_rs::identity::SigningIdentity;
use mls_rs::mls_rules::{
    CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle,
};
use mls_rs::{Client as EngineClient, Extension, ExtensionList, MlsRules};
use mls_rs_core::crypto::CipherSuite;
use mls_rs_core::error::IntoAnyError;
use mls_rs_core::extension::ExtensionType;
use mls_rs_core::identity::{CredentialType, IdentityProvider, MemberValidationContext};
use mls_rs_core::time::MlsTime;

use super::blame::Doing;
use super::table::{encryption, path_required, Call, GroupStates, KeyPackages, Psks};
use crate::engine::Extensions;
use crate::provider::Provider;
use crate::{Client, Error, KeyPackage, Lifetime, Result, Successor};

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
    let identity = SigningIdentity::new(
        BasicCredential::new(client.identity.clone()).into_credential(),
        client.signing_key.public_key().clone(),
    );
    let suite = CipherSuite::new(client.signing_key.suite());
    let mut builder = ClientBuilder::new()
        .group_state_storage(GroupStates)
        .key_package_repo(KeyPackages)
        .psk_store(Psks)
        .identity_provider(Identities(client.successor))
        .crypto_provider(Provider::new())
        .mls_rules(Rules)
        // The types every implementation must know may not be listed (RFC 9420 section 7.2).
        .extension_types(
            client
                .extension_types
                .iter()
                .map(|number| ExtensionType::new(*number))
                .filter(|kind| !kind.is_default()),
        )
        .custom_proposal_types(
            client
                .proposal_types
                .iter()
                .map(|number| ProposalType::new(*number))
                .filter(|kind| !kind.is_default()),
        )
        .signing_identity(identity, client.signing_key.secret().clone(), suite);
    if let Some(Lifetime {
        not_before,
        not_after,
    }) = lifetime
    {
        builder =
            builder.key_package_lifetime(Duration::from_secs(not_after.saturating_sub(not_before)));
    }
    builder.build()
}

pub(super) fn observer_client(successor: Successor) -> ExternalClient<ObserverConfig> {
    ExternalClientBuilder::new()
        .identity_provider(Identities(successor))
        .crypto_provider(Provider::new())
        .build()
}

pub(super) fn key_package(client: &Client, lifetime: Lifetime) -> Result<KeyPackage> {
    if lifetime.not_after < lifetime.not_before {
        return Err(Error::local(
            "bad_lifetime",
            "not_after lies before not_before",
        ));
    }
    let call = Call::begin();
    engine_client(client, Some(lifetime))
        .generate_key_package_message(
            ExtensionList::new(),
            list(&client.leaf_extensions),
            Some(MlsTime::from(lifetime.not_before)),
        )
        .map_err(|error| Doing::Alone("key_package").failed(error))?;
    let data = call
        .take_key_package()
        .ok_or_else(|| Error::local("store_failure", "the engine kept the key package"))?;
    KeyPackage::from_data(data)
}

pub(super) fn list(extensions: &Extensions) -> ExtensionList {
    extensions
        .iter()
        .map(|(number, data)| Extension::new(ExtensionType::new(*number), data.clone()))
        .collect()
}

/// One Welcome for all, the tree beside it; commits in the clear (rule.md §2 reads them) unless the call says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules;

impl MlsRules for Rules {
    type Error = NotBasic;

    /// A leaf is changed once by a commit: a removal comes before an update, and of several updates one is taken (RFC 9420
    /// section 12.2). The engine blanks the leaf once, and would name the other updates in its commit all the same, so that
    /// nobody could follow it.
    fn filter_proposals(
        &self,
        direction: CommitDirection,
        _: CommitSource,
        _: &Roster<'_>,
        _: &GroupContext,
        mut proposals: ProposalBundle,
    ) -> std::result::Result<ProposalBundle, NotBasic> {
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
        }
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _: &Roster<'_>,
        _: &GroupContext,
        _: &ProposalBundle,
    ) -> std::result::Result<CommitOptions, NotBasic> {
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
    ) -> std::result::Result<EncryptionOptions, NotBasic> {
        Ok(encryption())
    }
}

/// Basic credentials: the whole credential is the identity, the rule says who may succeed whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identities(Successor);

/// A credential that is not basic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotBasic(CredentialType);

impl fmt::Display for NotBasic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "credential type {} is not known here",
            self.0.raw_value()
        )
    }
}

impl std::error::Error for NotBasic {}

impl IntoAnyError for NotBasic {
    fn into_dyn_error(self) -> std::result::Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(self.into())
    }
}

fn basic(identity: &SigningIdentity) -> std::result::Result<&[u8], NotBasic> {
    let credential = identity.credential.as_basic();
    credential
        .map(BasicCredential::identifier)
        .ok_or_else(|| NotBasic(identity.credential.credential_type()))
}

impl IdentityProvider for Identities {
    type Error = NotBasic;

    fn validate_member(
        &self,
        signing_identity: &SigningIdentity,
        _: Option<MlsTime>,
        _: MemberValidationContext<'_>,
    ) -> std::result::Result<(), NotBasic> {
        basic(signing_identity).map(|_| ())
    }

    fn validate_external_sender(
        &self,
        signing_identity: &SigningIdentity,
        _: Option<MlsTime>,
        _: Option<&ExtensionList>,
    ) -> std::result::Result<(), NotBasic> {
        basic(signing_identity).map(|_| ())
    }

    fn identity(
        &self,
        signing_identity: &SigningIdentity,
        _: &ExtensionList,
    ) -> std::result::Result<Vec<u8>, NotBasic> {
        basic(signing_identity).map(<[u8]>::to_vec)
    }

    fn valid_successor(
        &self,
        predecessor: &SigningIdentity,
        successor: &SigningIdentity,
        _: &ExtensionList,
    ) -> std::result::Result<bool, NotBasic> {
        Ok(self.0.allows(basic(predecessor)?, basic(successor)?))
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        vec![BasicCredential::credential_type()]
    }
}

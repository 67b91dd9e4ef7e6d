//! The ways into a group: founding it, by a Welcome, and from outside.

use mls_rs::extension::built_in::RatchetTreeExt;
use mls_rs::group::ExportedTree;
use mls_rs::WireFormat;
use mls_rs_core::psk::ExternalPskId;
use mls_rs_core::time::MlsTime;

use super::asked::occupied;
use super::blame::Doing;
use super::config::engine_client;
use super::extensions::{list, of_context};
use super::group::{Group, Terms};
use super::resumption::ours;
use super::table::Call;
use crate::encoding::{decode, message};
use crate::engine::{Committed, ExternalJoin, PreSharedKeys};
use crate::extensions::Extensions;
use crate::{Client, Error, Fault, IdentityRules, KeyPackage, Lifetime, Result};

impl Group {
    pub(super) fn create(
        client: &Client,
        group_id: &[u8],
        extensions: &Extensions,
    ) -> Result<Self> {
        of_context(client.signing_key.suite(), extensions)?;
        let call = Call::begin();
        let engine = engine_client(client, Some(Lifetime::WIDEST))
            .create_group_with_id(
                group_id.to_vec(),
                list(extensions),
                list(&client.leaf_extensions),
                Some(MlsTime::from(Lifetime::WIDEST.not_before)),
            )
            .map_err(|error| Doing::Alone("group").failed(error))?;
        Self::first(engine, &call, Terms::of(client))
    }

    pub(super) fn join(
        client: &Client,
        welcome: &[u8],
        key_packages: &[&KeyPackage],
        tree: Option<&[u8]>,
        psks: &PreSharedKeys,
        now: Option<u64>,
    ) -> Result<Self> {
        ours(key_packages, client.signing_key.public())?;
        let message = message(welcome, "welcome", &[WireFormat::Welcome])?;
        let tree = tree
            .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
            .transpose()?;
        let call = Call::begin();
        call.lay_key_packages(key_packages.iter().map(|one| one.entry()).collect());
        call.lay_psks(psks);
        let (engine, _) = engine_client(client, None)
            .join_group(tree, &message, now.map(MlsTime::from))
            .map_err(|error| Doing::Reading("welcome").failed(error))?;
        Self::first(engine, &call, Terms::of(client))
    }

    pub(super) fn join_external(
        client: &Client,
        join: &ExternalJoin<'_>,
    ) -> Result<Committed<Self>> {
        let group_info = message(join.group_info, "group_info", &[WireFormat::GroupInfo])?;
        if group_info.cipher_suite().map(|suite| suite.raw_value())
            != Some(client.signing_key.suite())
        {
            return Err(
                Error::remote("wrong_suite", "the group has another cipher suite").at("group_info"),
            );
        }
        let tree = join
            .tree
            .map(|bytes| decode::<ExportedTree<'static>>(bytes, "tree"))
            .transpose()?;
        let call = Call::begin();
        call.lay_psks(join.psks);
        let mut builder = engine_client(client, None)
            .external_commit_builder()
            .map_err(|error| Doing::Making("commit").failed(error))?
            .with_leaf_node_extensions(list(&client.leaf_extensions))
            .with_authenticated_data(join.authenticated_data.to_vec());
        let inside = || {
            group_info
                .as_group_info()?
                .extensions()
                .get_as::<RatchetTreeExt>()
                .ok()?
        };
        let known = tree.clone().or_else(|| Some(inside()?.tree_data));
        if let Some(leaf) = join.remove {
            if let Some(tree) = &known {
                occupied(&tree.roster(), leaf)?;
            }
            builder = builder.with_removal(leaf);
        }
        for (id, _) in join.psks {
            builder = builder.with_external_psk(ExternalPskId::new(id.clone()));
        }
        if let Some(tree) = tree {
            builder = builder.with_tree_data(tree);
        }
        if let Some(now) = join.now {
            builder = builder.commit_time(MlsTime::from(now));
        }
        let (engine, commit) = builder.build(group_info).map_err(|error| {
            let told = Doing::Making("group_info").failed(error);
            let twice = |tree: &ExportedTree<'_>| still_in(tree, client, join.remove);
            if told.reason == "duplicate_leaf" && known.as_ref().is_some_and(twice) {
                let fault = Fault::Local;
                let detail = "our old leaf is in the group and is not removed".to_owned();
                return Error {
                    fault,
                    detail,
                    ..told
                };
            }
            told
        })?;
        let message = commit
            .to_bytes()
            .map_err(|error| Doing::Making("commit").failed(error))?;
        Ok(Committed {
            message,
            welcome: None,
            // The engine's record of the epoch before holds no secret: we were not in it.
            group: Self::first(engine, &call, Terms::of(client))?,
            parent: None,
            left_out: Vec::new(),
        })
    }
}

/// Whether a leaf that stays has our identity or our signature key.
fn still_in(tree: &ExportedTree<'_>, client: &Client, removed: Option<u32>) -> bool {
    let ours = IdentityRules::identity(&client.credential.to_engine());
    tree.roster().members_iter().any(|one| {
        let found = &one.signing_identity;
        let same = || IdentityRules::identity(&found.credential) == ours;
        Some(one.index) != removed
            && (found.signature_key == *client.signing_key.public_key() || same())
    })
}

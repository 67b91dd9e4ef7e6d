//! Plays a call with OpenMLS and writes what it sent as JSON vectors, one file per suite.
//!
//! `cargo run --locked --manifest-path interop/openmls/Cargo.toml -- tests/vectors/openmls`
//!
//! Keys are fresh in every run, so the files differ from run to run; what they must show does not.

mod protocol;

use std::error::Error;
use std::path::Path;

use ed25519_dalek::SigningKey;
use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::signatures::Signer;
use serde::Serialize;

use protocol::{commit_data, digest, Call, BINDING};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CALL: Call = Call {
    room: "!interop:example.org",
    slot: "m.call#ROOM",
};

#[derive(Serialize)]
struct Vector {
    generator: &'static str,
    suite: u16,
    room: &'static str,
    slot: &'static str,
    steps: Vec<Step>,
}

#[derive(Serialize, Default)]
struct Step {
    name: &'static str,
    sender: String,
    signature_key: String,
    signer: u32,
    epoch: u64,
    n: u64,
    id: String,
    parent: Option<String>,
    /// Of the epoch before, with its tree.
    group_info_before: String,
    commit: String,
    /// Of the epoch after, with its tree.
    group_info: String,
    welcome: Option<String>,
    added: Vec<String>,
    added_key_packages: Vec<String>,
    removed: Vec<String>,
    left: Vec<(String, String)>,
    /// member_id by leaf index after the commit.
    leaves: Vec<(u32, String)>,
}

/// One participation of one device.
struct Device {
    provider: OpenMlsRustCrypto,
    suite: Ciphersuite,
    user: &'static str,
    member_id: String,
    leaf_key: SignatureKeyPair,
    credential: CredentialWithKey,
    capabilities: Capabilities,
    extensions: Extensions<LeafNode>,
}

impl Device {
    fn new(suite: Ciphersuite, user: &'static str, device: &'static str) -> Outcome<Self> {
        let provider = OpenMlsRustCrypto::default();
        let leaf_key = SignatureKeyPair::new(suite.signature_algorithm())?;
        leaf_key.store(provider.storage())?;
        let seed = provider.rand().random_vec(32)?;
        let device_key = SigningKey::from_bytes(seed.as_slice().try_into()?);
        let verifying = device_key.verifying_key();
        let public = leaf_key.to_public_vec();
        let member_id = CALL.member_id(user, device, verifying.as_bytes(), &public);
        let identity = protocol::tuple(&[user.as_bytes(), device.as_bytes(), member_id.as_bytes()]);
        let binding = CALL.binding(&device_key, user, device, &member_id, &public);
        let extension = Extension::Unknown(BINDING, UnknownExtension(binding));
        Ok(Self {
            provider,
            suite,
            user,
            member_id,
            credential: CredentialWithKey {
                credential: BasicCredential::new(identity).into(),
                signature_key: public.into(),
            },
            leaf_key,
            capabilities: Capabilities::builder()
                .extensions(vec![ExtensionType::Unknown(BINDING)])
                .build(),
            extensions: Extensions::from_vec(vec![extension])?,
        })
    }

    fn create(&self) -> Outcome<MlsGroup> {
        Ok(MlsGroup::builder()
            .with_group_id(GroupId::from_slice(&CALL.group_id(&self.member_id)))
            .ciphersuite(self.suite)
            .with_wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .with_capabilities(self.capabilities.clone())
            .with_leaf_node_extensions(self.extensions.clone())?
            .build(&self.provider, &self.leaf_key, self.credential.clone())?)
    }

    fn key_package(&self) -> Outcome<KeyPackage> {
        let bundle = KeyPackage::builder()
            .leaf_node_capabilities(self.capabilities.clone())
            .leaf_node_extensions(self.extensions.clone())
            .build(
                self.suite,
                &self.provider,
                &self.leaf_key,
                self.credential.clone(),
            )?;
        Ok(bundle.key_package().clone())
    }

    fn left(&self) -> Outcome<(String, Vec<u8>)> {
        let signature = self.leaf_key.sign(&CALL.left(&self.member_id));
        let signature = signature.map_err(|error| format!("{error:?}"))?;
        Ok((self.member_id.clone(), signature))
    }

    fn group_info(&self, group: &MlsGroup) -> Outcome<Vec<u8>> {
        let message = group.export_group_info(self.provider.crypto(), &self.leaf_key, true)?;
        Ok(message.tls_serialize_detached()?)
    }

    fn join(&self, welcome: &[u8]) -> Outcome<MlsGroup> {
        let MlsMessageBodyIn::Welcome(welcome) =
            MlsMessageIn::tls_deserialize_exact(welcome)?.extract()
        else {
            return Err("no Welcome".into());
        };
        let staged =
            StagedWelcome::new_from_welcome(&self.provider, &join_config(), welcome, None)?;
        Ok(staged.into_group(&self.provider)?)
    }
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(true)
        .build()
}

/// What one member's commit is to do.
#[derive(Default)]
struct Plan<'a> {
    name: &'static str,
    n: u64,
    add: Vec<&'a Device>,
    remove: Vec<&'a Device>,
    left: Vec<(String, Vec<u8>)>,
}

struct Log {
    steps: Vec<Step>,
}

impl Log {
    fn commit(
        &mut self,
        author: &Device,
        group: &mut MlsGroup,
        plan: Plan<'_>,
    ) -> Outcome<Vec<u8>> {
        let before = author.group_info(group)?;
        let packages = plan
            .add
            .iter()
            .map(|device| device.key_package())
            .collect::<Outcome<Vec<_>>>()?;
        let indexes = plan
            .remove
            .iter()
            .map(|device| index_of(group, device))
            .collect::<Outcome<Vec<_>>>()?;
        let key_packages = packages
            .iter()
            .map(|package| Ok(MlsMessageOut::from(package.clone()).tls_serialize_detached()?))
            .collect::<Outcome<Vec<_>>>()?;
        group.set_aad(commit_data(&self.newest()?, plan.n, &plan.left));
        let bundle = group
            .commit_builder()
            .propose_adds(packages)
            .propose_removals(indexes)
            .force_self_update(plan.add.is_empty())
            .load_psks(author.provider.storage())?
            .build(
                author.provider.rand(),
                author.provider.crypto(),
                &author.leaf_key,
                |_| true,
            )?
            .stage_commit(&author.provider)?;
        let commit = bundle.commit().tls_serialize_detached()?;
        let welcome = bundle
            .to_welcome_msg()
            .map(|message| message.tls_serialize_detached())
            .transpose()?;
        group.merge_pending_commit(&author.provider)?;
        self.steps.push(Step {
            welcome: welcome.as_deref().map(hex::encode),
            added: plan
                .add
                .iter()
                .map(|device| device.member_id.clone())
                .collect(),
            added_key_packages: key_packages.iter().map(hex::encode).collect(),
            removed: plan
                .remove
                .iter()
                .map(|device| device.member_id.clone())
                .collect(),
            left: plan
                .left
                .iter()
                .map(|(m, signature)| (m.clone(), hex::encode(signature)))
                .collect(),
            ..self.step(author, group, plan.name, plan.n, &before, &commit)?
        });
        Ok(welcome.unwrap_or_default())
    }

    fn external(
        &mut self,
        joiner: &Device,
        host: &Device,
        host_group: &MlsGroup,
    ) -> Outcome<MlsGroup> {
        let before = host.group_info(host_group)?;
        let MlsMessageBodyIn::GroupInfo(info) =
            MlsMessageIn::tls_deserialize_exact(&before)?.extract()
        else {
            return Err("no GroupInfo".into());
        };
        let parameters = LeafNodeParameters::builder()
            .with_capabilities(joiner.capabilities.clone())
            .with_extensions(joiner.extensions.clone())
            .build();
        let (group, bundle) = MlsGroup::external_commit_builder()
            .with_config(join_config())
            .with_aad(commit_data(&self.newest()?, 1, &[]))
            .build_group(&joiner.provider, info, joiner.credential.clone())?
            .leaf_node_parameters(parameters)
            .load_psks(joiner.provider.storage())?
            .build(
                joiner.provider.rand(),
                joiner.provider.crypto(),
                &joiner.leaf_key,
                |_| true,
            )?
            .finalize(&joiner.provider)?;
        let commit = bundle.commit().tls_serialize_detached()?;
        self.steps.push(Step {
            added: vec![joiner.member_id.clone()],
            ..self.step(joiner, &group, "external commit", 1, &before, &commit)?
        });
        Ok(group)
    }

    /// The id of the newest epoch, which the next commit names as its parent; empty before the root.
    fn newest(&self) -> Outcome<Vec<u8>> {
        let id = self.steps.last().map(|step| hex::decode(&step.id));
        Ok(id.transpose()?.unwrap_or_default())
    }

    fn step(
        &self,
        author: &Device,
        group: &MlsGroup,
        name: &'static str,
        n: u64,
        before: &[u8],
        commit: &[u8],
    ) -> Outcome<Step> {
        let context = group
            .public_group()
            .group_context()
            .tls_serialize_detached()?;
        // ConfirmationTag is one opaque<V>; the id covers its bytes, not its length.
        let tag = group.confirmation_tag().tls_serialize_detached()?;
        let tag = tag.get(1..).ok_or("an empty confirmation tag")?;
        let members = group.members().map(|member| {
            let identity = member.credential.serialized_content().to_vec();
            let id = identity
                .get(identity.len().saturating_sub(43)..)
                .unwrap_or_default();
            Ok((member.index.u32(), String::from_utf8(id.to_vec())?))
        });
        Ok(Step {
            name,
            sender: author.user.to_owned(),
            signature_key: hex::encode(author.leaf_key.to_public_vec()),
            signer: group.own_leaf_index().u32(),
            epoch: group.epoch().as_u64(),
            n,
            id: hex::encode(digest(&[b"mlsrtc epoch 1", &context, tag])),
            parent: self.steps.last().map(|step| step.id.clone()),
            group_info_before: hex::encode(before),
            commit: hex::encode(commit),
            group_info: hex::encode(author.group_info(group)?),
            leaves: members.collect::<Outcome<Vec<_>>>()?,
            ..Step::default()
        })
    }

    /// Brings another member to the newest epoch.
    fn follow(&self, device: &Device, group: &mut MlsGroup) -> Outcome<()> {
        let commit = &self.steps.last().ok_or("nothing was committed")?.commit;
        let message = MlsMessageIn::tls_deserialize_exact(hex::decode(commit)?)?;
        let processed =
            group.process_message(&device.provider, message.try_into_protocol_message()?)?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err("no commit".into());
        };
        group.merge_staged_commit(&device.provider, *staged)?;
        Ok(())
    }
}

fn index_of(group: &MlsGroup, device: &Device) -> Outcome<LeafNodeIndex> {
    let found = group.member_leaf_index(&device.credential.credential);
    Ok(found.ok_or("not a member")?)
}

fn play(suite: Ciphersuite) -> Outcome<Vector> {
    let founder = Device::new(suite, "@founder:example.org", "AAAA")?;
    let second = Device::new(suite, "@second:example.org", "BBBB")?;
    let third = Device::new(suite, "@third:example.org", "CCCC")?;
    let fourth = Device::new(suite, "@fourth:example.org", "DDDD")?;
    let fifth = Device::new(suite, "@fifth:example.org", "EEEE")?;
    let outsider = Device::new(suite, "@outsider:example.org", "FFFF")?;
    let mut log = Log { steps: Vec::new() };

    let mut group = founder.create()?;
    let add = vec![&second, &third];
    let welcome = log.commit(
        &founder,
        &mut group,
        Plan {
            name: "root adds two",
            n: 1,
            add,
            ..Plan::default()
        },
    )?;
    let mut of_second = second.join(&welcome)?;

    log.commit(
        &second,
        &mut of_second,
        Plan {
            name: "update",
            n: 1,
            ..Plan::default()
        },
    )?;
    log.follow(&founder, &mut group)?;

    let (add, remove, left) = (vec![&fourth, &fifth], vec![&third], vec![third.left()?]);
    let plan = Plan {
        name: "removal and adds",
        n: 2,
        add,
        remove,
        left,
    };
    log.commit(&founder, &mut group, plan)?;
    log.follow(&second, &mut of_second)?;

    let mut of_outsider = log.external(&outsider, &founder, &group)?;
    log.follow(&founder, &mut group)?;
    log.follow(&second, &mut of_second)?;

    let (remove, left) = (vec![&fifth, &fourth], vec![fifth.left()?, fourth.left()?]);
    let plan = Plan {
        name: "removal that empties the right half",
        n: 2,
        remove,
        left,
        ..Plan::default()
    };
    log.commit(&outsider, &mut of_outsider, plan)?;
    log.follow(&founder, &mut group)?;

    Ok(Vector {
        generator: "interop/openmls, OpenMLS 0.9.2",
        suite: suite as u16,
        room: CALL.room,
        slot: CALL.slot,
        steps: log.steps,
    })
}

fn main() -> Outcome<()> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("usage: mlsrtc-interop-openmls FOLDER")?;
    for suite in [
        Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
        Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256,
        Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
    ] {
        let vector = play(suite)?;
        let path = Path::new(&folder).join(format!("suite-{}.json", vector.suite));
        std::fs::write(path, serde_json::to_string_pretty(&vector)? + "\n")?;
    }
    Ok(())
}

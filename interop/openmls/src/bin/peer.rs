//! OpenMLS behind the line protocol of `tests/interop/peers.py`: one JSON request a line, one JSON answer a line.
//!
//! A process holds any number of clients, each with at most one group. Commits and proposals take effect at once:
//! the caller orders everything, so no commit ever has a rival.

#[path = "../../../line.rs"]
mod line;

use std::collections::HashMap;

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::*;
use openmls::schedule::psk::{ResumptionPsk, ResumptionPskUsage};
use openmls::schedule::{ExternalPsk, PreSharedKeyId, Psk};
use openmls_basic_credential::SignatureKeyPair;
#[cfg(feature = "libcrux")]
use openmls_libcrux_crypto::Provider;
#[cfg(not(feature = "libcrux"))]
use openmls_rust_crypto::OpenMlsRustCrypto as Provider;
use serde_json::{json, Value};

use line::{base64, repeated, serve, timed, Fields, Outcome};

const NAME: &str = if cfg!(feature = "libcrux") {
    "OpenMLS on libcrux"
} else {
    "OpenMLS"
};

/// How many epochs back a member still reads messages and finds resumption PSKs.
const PAST_EPOCHS: usize = 5;

/// The extension and the proposal that the application makes up, where the histories play such ones.
const EXTENSION: u16 = 0xF0F0;
const PROPOSAL: u16 = 0xF0F1;

fn ratchet_tree(tree: Option<Vec<u8>>) -> Outcome<Option<RatchetTreeIn>> {
    Ok(tree.map(RatchetTreeIn::tls_deserialize_exact).transpose()?)
}

fn message(message: &MlsMessageOut) -> Outcome<Value> {
    Ok(base64(&message.tls_serialize_detached()?))
}

fn opened(bytes: &[u8]) -> Outcome<MlsMessageBodyIn> {
    Ok(MlsMessageIn::tls_deserialize_exact(bytes)?.extract())
}

/// The group and the epoch that a proposal from outside is for.
fn place(fields: &Fields) -> Outcome<(GroupId, GroupEpoch)> {
    let group = GroupId::from_slice(&fields.bytes("group_id")?);
    Ok((group, fields.number("epoch")?.into()))
}

/// An extension of the application's, and one external sender if there is one. OpenMLS takes an extension that it does
/// not know only where it is required of all.
fn context_extensions(fields: &Fields) -> Outcome<Extensions<GroupContext>> {
    let data = UnknownExtension(fields.bytes("data")?);
    let required =
        RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(EXTENSION)], &[], &[]);
    let mut extensions = vec![
        Extension::Unknown(EXTENSION, data),
        Extension::RequiredCapabilities(required),
    ];
    if fields.has("sender") {
        let sender = ExternalSender::tls_deserialize_exact(fields.bytes("sender")?)?;
        extensions.push(Extension::ExternalSenders(vec![sender]));
    }
    Ok(Extensions::from_vec(extensions)?)
}

/// A commit, its Welcome, and the tree.
type Made = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

struct Client {
    provider: Provider,
    suite: Ciphersuite,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
    policy: WireFormatPolicy,
    capabilities: Capabilities,
    newest: Option<KeyPackageBundle>,
    group: Option<MlsGroup>,
}

impl Client {
    fn new(fields: &Fields) -> Outcome<Self> {
        let suite = Ciphersuite::try_from(fields.number("suite")? as u16)?;
        let provider = Provider::default();
        let signer = SignatureKeyPair::new(suite.signature_algorithm())?;
        signer.store(provider.storage())?;
        Ok(Self {
            credential: CredentialWithKey {
                credential: BasicCredential::new(fields.bytes("identity")?).into(),
                signature_key: signer.to_public_vec().into(),
            },
            policy: if fields.flag("private") {
                MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY
            } else {
                MIXED_PLAINTEXT_WIRE_FORMAT_POLICY
            },
            capabilities: if fields.flag("custom") {
                Capabilities::builder()
                    .extensions(vec![ExtensionType::Unknown(EXTENSION)])
                    .proposals(vec![ProposalType::Custom(PROPOSAL)])
                    .build()
            } else {
                Capabilities::default()
            },
            provider,
            suite,
            signer,
            newest: None,
            group: None,
        })
    }

    fn join_config(&self) -> MlsGroupJoinConfig {
        MlsGroupJoinConfig::builder()
            .wire_format_policy(self.policy)
            .max_past_epochs(PAST_EPOCHS)
            .number_of_resumption_psks(PAST_EPOCHS)
            .build()
    }

    fn key_package(&mut self) -> Outcome<Value> {
        let bundle = KeyPackage::builder()
            .leaf_node_capabilities(self.capabilities.clone())
            .build(
                self.suite,
                &self.provider,
                &self.signer,
                self.credential.clone(),
            )?;
        let package = bundle.key_package().clone();
        self.newest = Some(bundle);
        Ok(json!({"key_package": message(&package.into())?}))
    }

    /// The private keys of the newest key package, for vectors that somebody else is to join with.
    fn reveal(&self) -> Outcome<Value> {
        let bundle = self.newest.as_ref().ok_or("no key package")?;
        // Two of them have no public reader; they are in what is stored.
        let stored = serde_json::to_value(bundle)?;
        let leaf = stored["private_encryption_key"]["key"].clone();
        let leaf: HpkePrivateKey = serde_json::from_value(leaf)?;
        let signer = serde_json::to_value(&self.signer)?;
        let signer: Vec<u8> = serde_json::from_value(signer["private"].clone())?;
        Ok(json!({
            "init_priv": base64(bundle.init_private_key()),
            "encryption_priv": base64(&leaf),
            "signature_priv": base64(&signer),
        }))
    }

    fn create(&mut self, fields: &Fields) -> Outcome<Value> {
        let id = GroupId::from_slice(&fields.bytes("group_id")?);
        let (group, ns) = timed(|| {
            Ok(MlsGroup::builder()
                .with_group_id(id)
                .ciphersuite(self.suite)
                .with_capabilities(self.capabilities.clone())
                .with_wire_format_policy(self.policy)
                .max_past_epochs(PAST_EPOCHS)
                .number_of_resumption_psks(PAST_EPOCHS)
                .build(&self.provider, &self.signer, self.credential.clone())?)
        })?;
        self.group = Some(group);
        Ok(json!({"ns": ns}))
    }

    fn join(&mut self, fields: &Fields) -> Outcome<Value> {
        let (welcome, tree) = (fields.bytes("welcome")?, fields.optional_bytes("tree")?);
        let (group, ns) = timed(|| {
            let MlsMessageBodyIn::Welcome(welcome) = opened(&welcome)? else {
                return Err("no Welcome".into());
            };
            let staged = StagedWelcome::new_from_welcome(
                &self.provider,
                &self.join_config(),
                welcome,
                ratchet_tree(tree)?,
            )?;
            Ok(staged.into_group(&self.provider)?)
        })?;
        self.group = Some(group);
        Ok(json!({"ns": ns}))
    }

    /// A member that comes back is removed by OpenMLS itself, which knows its signature key.
    fn join_external(&mut self, fields: &Fields) -> Outcome<Value> {
        let MlsMessageBodyIn::GroupInfo(info) = opened(&fields.bytes("group_info")?)? else {
            return Err("no GroupInfo".into());
        };
        if let Some(mut old) = self.group.take() {
            old.delete(self.provider.storage())?;
        }
        let mut builder = MlsGroup::external_commit_builder().with_config(self.join_config());
        if let Some(tree) = ratchet_tree(fields.optional_bytes("tree")?)? {
            builder = builder.with_ratchet_tree(tree);
        }
        let mut builder = builder.build_group(&self.provider, info, self.credential.clone())?;
        for psk in fields.all_fields("psk") {
            builder = builder.add_psk_proposal(PreSharedKeyProposal::new(self.psk_id(&psk)?));
        }
        let leaf = LeafNodeParameters::builder().with_capabilities(self.capabilities.clone());
        let (rand, crypto) = (self.provider.rand(), self.provider.crypto());
        let (group, bundle) = builder
            .leaf_node_parameters(leaf.build())
            .load_psks(self.provider.storage())?
            .build(rand, crypto, &self.signer, |_| true)?
            .finalize(&self.provider)?;
        self.group = Some(group);
        Ok(json!({"commit": message(bundle.commit())?}))
    }

    /// `id` for an external PSK, `epoch` for the resumption PSK of an epoch of this group.
    fn psk_id(&self, fields: &Fields) -> Outcome<PreSharedKeyId> {
        let psk = if fields.has("epoch") {
            let group = self.group.as_ref().ok_or("not in a group")?;
            Psk::Resumption(ResumptionPsk::new(
                ResumptionPskUsage::Application,
                group.group_id().clone(),
                fields.number("epoch")?.into(),
            ))
        } else {
            Psk::External(ExternalPsk::new(fields.bytes("id")?))
        };
        Ok(PreSharedKeyId::new(self.suite, self.provider.rand(), psk)?)
    }

    fn psk_proposal(&self, psk: &Fields) -> Outcome<Proposal> {
        let proposal = PreSharedKeyProposal::new(self.psk_id(psk)?);
        Ok(Proposal::PreSharedKey(Box::new(proposal)))
    }

    fn store_psk(&self, fields: &Fields) -> Outcome<Value> {
        let psk = Psk::External(ExternalPsk::new(fields.bytes("id")?));
        PreSharedKeyId::new(self.suite, self.provider.rand(), psk)?
            .store(&self.provider, &fields.bytes("secret")?)?;
        Ok(json!({}))
    }

    fn added(&self, package: &[u8]) -> Outcome<KeyPackage> {
        let MlsMessageBodyIn::KeyPackage(package) = opened(package)? else {
            return Err("no KeyPackage".into());
        };
        Ok(package.validate(self.provider.crypto(), ProtocolVersion::Mls10)?)
    }

    fn propose(&mut self, fields: &Fields) -> Outcome<Value> {
        let proposal = match fields.text("kind")? {
            "add" => Propose::Add(self.added(&fields.bytes("key_package")?)?),
            "remove" => Propose::Remove(fields.number("leaf")? as u32),
            "update" => Propose::Update(LeafNodeParameters::default()),
            "psk" => Propose::PreSharedKey(self.psk_id(fields)?),
            "context_extensions" => Propose::GroupContextExtensions(context_extensions(fields)?),
            "custom" => Propose::Custom(CustomProposal::new(PROPOSAL, fields.bytes("data")?)),
            kind => return Err(format!("unknown proposal {kind}").into()),
        };
        let group = self.group.as_mut().ok_or("not in a group")?;
        let (made, _) = group.propose(
            &self.provider,
            &self.signer,
            proposal,
            ProposalOrRefType::Reference,
        )?;
        Ok(json!({"proposal": message(&made)?}))
    }

    /// Asks to be added, from outside the group.
    fn propose_join(&mut self, fields: &Fields) -> Outcome<Value> {
        let bundle = self.newest.as_ref().ok_or("no key package")?;
        let (group, epoch) = place(fields)?;
        let package = bundle.key_package().clone();
        let made = JoinProposal::new::<<Provider as OpenMlsProvider>::StorageProvider>(
            package,
            group,
            epoch,
            &self.signer,
        )?;
        Ok(json!({"proposal": message(&made)?}))
    }

    /// Proposes as the only external sender that the group names.
    fn propose_outside(&mut self, fields: &Fields) -> Outcome<Value> {
        let (group, epoch) = place(fields)?;
        let sender = SenderExtensionIndex::new(0);
        let made = match fields.text("kind")? {
            "add" => {
                let package = self.added(&fields.bytes("key_package")?)?;
                ExternalProposal::new_add::<Provider>(package, group, epoch, &self.signer, sender)?
            }
            "remove" => {
                let leaf = LeafNodeIndex::new(fields.number("leaf")? as u32);
                ExternalProposal::new_remove::<Provider>(leaf, group, epoch, &self.signer, sender)?
            }
            "context_extensions" => ExternalProposal::new_group_context_extensions::<Provider>(
                context_extensions(fields)?,
                group,
                epoch,
                &self.signer,
                sender,
            )?,
            kind => return Err(format!("unknown proposal {kind}").into()),
        };
        Ok(json!({"proposal": message(&made)?}))
    }

    /// What a group's list of external senders says of this client.
    fn sender(&self) -> Outcome<Value> {
        let sender = ExternalSender::new(
            self.credential.signature_key.clone(),
            self.credential.credential.clone(),
        );
        Ok(json!({"sender": base64(&sender.tls_serialize_detached()?)}))
    }

    fn commit(&mut self, fields: &Fields) -> Outcome<Value> {
        let packages = fields.all_bytes("add")?;
        let ((commit, welcome, tree), ns) = timed(|| self.committed(&packages, fields))?;
        Ok(json!({
            "commit": base64(&commit),
            "welcome": welcome.as_deref().map(base64),
            "tree": tree.as_deref().map(base64),
            "ns": ns,
        }))
    }

    fn committed(&mut self, packages: &[Vec<u8>], fields: &Fields) -> Outcome<Made> {
        let packages = packages.iter().map(|package| self.added(package));
        let packages = packages.collect::<Outcome<Vec<_>>>()?;
        let removed = fields.all_numbers("remove").into_iter();
        let removed = removed.map(|leaf| LeafNodeIndex::new(leaf as u32));
        let psks = fields.all_fields("psk");
        let psks = psks.iter().map(|psk| self.psk_proposal(psk));
        let psks = psks.collect::<Outcome<Vec<_>>>()?;
        let tree_in_welcome = fields.flag("tree_in_welcome");
        let group = self.group.as_mut().ok_or("not in a group")?;
        let (rand, crypto) = (self.provider.rand(), self.provider.crypto());
        let mut builder = group
            .commit_builder()
            .propose_adds(packages)
            .propose_removals(removed)
            .add_proposals(psks);
        for proposal in fields.all_fields("by_value") {
            builder = match proposal.text("kind")? {
                "context_extensions" => {
                    builder.propose_group_context_extensions(context_extensions(&proposal)?)?
                }
                "custom" => {
                    let custom = CustomProposal::new(PROPOSAL, proposal.bytes("data")?);
                    builder.add_proposals([Proposal::Custom(Box::new(custom))])
                }
                kind => return Err(format!("unknown proposal {kind}").into()),
            };
        }
        let bundle = builder
            .force_self_update(fields.flag("path"))
            .load_psks(self.provider.storage())?
            .use_ratchet_tree_extension(tree_in_welcome)
            .build(rand, crypto, &self.signer, |_| true)?
            .stage_commit(&self.provider)?;
        let welcome = bundle.to_welcome_msg();
        let welcome = welcome
            .map(|welcome| welcome.tls_serialize_detached())
            .transpose()?;
        let commit = bundle.commit().tls_serialize_detached()?;
        group.merge_pending_commit(&self.provider)?;
        let tree = (!tree_in_welcome).then(|| group.export_ratchet_tree());
        let tree = tree.map(|tree| tree.tls_serialize_detached()).transpose()?;
        Ok((commit, welcome, tree))
    }

    fn process(&mut self, fields: &Fields) -> Outcome<Value> {
        let message = fields.bytes("message")?;
        let group = self.group.as_mut().ok_or("not in a group")?;
        let ((kind, data), ns) = timed(|| {
            let message = MlsMessageIn::tls_deserialize_exact(message)?;
            let message = message.try_into_protocol_message()?;
            let processed = group.process_message(&self.provider, message)?;
            Ok(match processed.into_content() {
                ProcessedMessageContent::ApplicationMessage(data) => {
                    ("application", Some(data.into_bytes()))
                }
                ProcessedMessageContent::StagedCommitMessage(staged) => {
                    group.merge_staged_commit(&self.provider, *staged)?;
                    ("commit", None)
                }
                ProcessedMessageContent::ProposalMessage(proposal)
                | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
                    group.store_pending_proposal(self.provider.storage(), *proposal)?;
                    ("proposal", None)
                }
                ProcessedMessageContent::OwnPrivateMessage
                | ProcessedMessageContent::OwnPendingCommit => return Err("our own message".into()),
            })
        })?;
        Ok(json!({"kind": kind, "data": data.as_deref().map(base64), "ns": ns}))
    }

    fn encrypt(&mut self, fields: &Fields) -> Outcome<Value> {
        let group = self.group.as_mut().ok_or("not in a group")?;
        group.set_aad(fields.bytes("authenticated_data")?);
        let made = group.create_message(&self.provider, &self.signer, &fields.bytes("data")?)?;
        Ok(json!({"message": message(&made)?}))
    }

    fn group_info(&mut self, fields: &Fields) -> Outcome<Value> {
        let with_tree = fields.flag("with_tree");
        let group = self.group.as_ref().ok_or("not in a group")?;
        let info = group.export_group_info(self.provider.crypto(), &self.signer, with_tree)?;
        let tree = group.export_ratchet_tree().tls_serialize_detached()?;
        let tree = (!with_tree).then(|| base64(&tree));
        Ok(json!({"group_info": message(&info)?, "tree": tree}))
    }

    fn export(&mut self, fields: &Fields) -> Outcome<Value> {
        let group = self.group.as_ref().ok_or("not in a group")?;
        let (label, context) = (fields.text("label")?, fields.bytes("context")?);
        repeated(fields, || {
            Ok(group.export_secret(self.provider.crypto(), label, &context, 32)?)
        })
    }

    fn state(&mut self, fields: &Fields) -> Outcome<Value> {
        let crypto = Provider::default();
        let group = self.group.as_ref().ok_or("not in a group")?;
        let (label, context) = (fields.text("label")?, fields.bytes("context")?);
        let exported = group.export_secret(crypto.crypto(), label, &context, 32)?;
        Ok(json!({
            "epoch": group.epoch().as_u64(),
            "leaf": group.own_leaf_index().u32(),
            "authenticator": base64(group.epoch_authenticator().as_slice()),
            "exporter": base64(&exported),
            "tree_hash": base64(group.public_group().group_context().tree_hash()),
        }))
    }
}

fn answer(clients: &mut HashMap<String, Client>, fields: &Fields) -> Outcome<Value> {
    let operation = fields.text("op")?;
    if operation == "hello" {
        let suites = Provider::default().crypto().supported_ciphersuites();
        let suites = suites.into_iter().map(|suite| suite as u16);
        return Ok(json!({
            "peer": NAME, "version": "0.9.2",
            "suites": suites.collect::<Vec<_>>(), "unsupported": {},
        }));
    }
    let name = fields.text("client")?.to_owned();
    if operation == "client" {
        clients.insert(name, Client::new(fields)?);
        return Ok(json!({}));
    }
    if operation == "drop" {
        clients.remove(&name);
        return Ok(json!({}));
    }
    let client = clients.get_mut(&name).ok_or("no such client")?;
    match operation {
        "key_package" => client.key_package(),
        "reveal" => client.reveal(),
        "create" => client.create(fields),
        "join" => client.join(fields),
        "join_external" => client.join_external(fields),
        "psk" => client.store_psk(fields),
        "propose" => client.propose(fields),
        "propose_join" => client.propose_join(fields),
        "propose_outside" => client.propose_outside(fields),
        "sender" => client.sender(),
        "commit" => client.commit(fields),
        "process" => client.process(fields),
        "encrypt" => client.encrypt(fields),
        "group_info" => client.group_info(fields),
        "export" => client.export(fields),
        "state" => client.state(fields),
        _ => Err(format!("unknown operation {operation}").into()),
    }
}

fn main() -> Outcome<()> {
    let mut clients = HashMap::new();
    serve(|fields| answer(&mut clients, fields))
}

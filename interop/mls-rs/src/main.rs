//! mls-rs behind the line protocol of `tests/interop/peers.py`.

#[path = "../../line.rs"]
mod line;

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mls_rs::client_builder::MlsConfig;
use mls_rs::crypto::SignatureSecretKey;
use mls_rs::extension::built_in::RequiredCapabilitiesExt;
use mls_rs::extension::ExtensionType;
use mls_rs::group::proposal::{CustomProposal, ProposalType};
use mls_rs::group::{CommitOutput, ExportedTree, ReceivedMessage};
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::identity::SigningIdentity;
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions};
use mls_rs::psk::{ExternalPskId, PreSharedKey};
use mls_rs::storage_provider::in_memory::InMemoryPreSharedKeyStorage;
use mls_rs::time::MlsTime;
use mls_rs::{
    CipherSuite, CipherSuiteProvider, Client, CryptoProvider, Extension, ExtensionList, Group,
    MlsMessage,
};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;
use serde_json::{json, Value};

use line::{base64, repeated, serve, timed, Fields, Outcome};

const DAY: u64 = 24 * 3600;

/// The extension and the proposal that the application makes up, where the histories play such ones.
const EXTENSION: ExtensionType = ExtensionType::new(0xF0F0);
const PROPOSAL: ProposalType = ProposalType::new(0xF0F1);

fn client(fields: &Fields, psks: InMemoryPreSharedKeyStorage) -> Outcome<Client<impl MlsConfig>> {
    let suite = CipherSuite::from(fields.number("suite")? as u16);
    let crypto = RustCryptoProvider::default();
    let primitives = crypto.cipher_suite_provider(suite).ok_or("no such suite")?;
    let (secret, public): (SignatureSecretKey, _) = primitives.signature_key_generate()?;
    let credential = BasicCredential::new(fields.bytes("identity")?).into_credential();
    let rules = DefaultMlsRules::new()
        .with_commit_options(
            CommitOptions::new()
                .with_allow_external_commit(true)
                .with_ratchet_tree_extension(false),
        )
        .with_encryption_options(EncryptionOptions::new(
            fields.flag("private"),
            Default::default(),
        ));
    let custom = fields.flag("custom");
    Ok(Client::builder()
        .extension_types(custom.then_some(EXTENSION))
        .custom_proposal_types(custom.then_some(PROPOSAL))
        .identity_provider(BasicIdentityProvider)
        .crypto_provider(crypto)
        .mls_rules(rules)
        .psk_store(psks)
        .key_package_lifetime(Duration::from_secs(80 * DAY))
        .signing_identity(SigningIdentity::new(credential, public), secret, suite)
        .build())
}

struct Member<C: MlsConfig> {
    client: Client<C>,
    psks: InMemoryPreSharedKeyStorage,
    group: Option<Group<C>>,
}

impl<C: MlsConfig> Member<C> {
    fn group(&mut self) -> Outcome<&mut Group<C>> {
        Ok(self.group.as_mut().ok_or("not in a group")?)
    }

    fn key_package(&self) -> Outcome<Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let package = self.client.generate_key_package_message(
            Default::default(),
            Default::default(),
            Some(MlsTime::from(now - 3600)),
        )?;
        Ok(json!({"key_package": base64(&package.to_bytes()?)}))
    }

    fn create(&mut self, fields: &Fields) -> Outcome<Value> {
        let id = fields.bytes("group_id")?;
        let (made, ns) = timed(|| {
            let nothing = Default::default;
            Ok(self
                .client
                .create_group_with_id(id, nothing(), nothing(), None)?)
        })?;
        self.group = Some(made);
        Ok(json!({"ns": ns}))
    }

    fn join(&mut self, fields: &Fields) -> Outcome<Value> {
        let (welcome, tree) = (fields.bytes("welcome")?, fields.optional_bytes("tree")?);
        let (group, ns) = timed(|| {
            let welcome = MlsMessage::from_bytes(&welcome)?;
            let (group, _) = self.client.join_group(exported(tree)?, &welcome, None)?;
            Ok(group)
        })?;
        self.group = Some(group);
        Ok(json!({"ns": ns}))
    }

    fn join_external(&mut self, fields: &Fields) -> Outcome<Value> {
        let info = MlsMessage::from_bytes(&fields.bytes("group_info")?)?;
        let mut builder = self.client.external_commit_builder()?;
        if let Some(tree) = exported(fields.optional_bytes("tree")?)? {
            builder = builder.with_tree_data(tree);
        }
        if fields.flag("resync") {
            builder = builder.with_removal(self.group()?.current_member_index());
        }
        for psk in fields.all_fields("psk") {
            builder = builder.with_external_psk(ExternalPskId::new(psk.bytes("id")?));
        }
        let (group, commit) = builder.build(info)?;
        self.group = Some(group);
        Ok(json!({"commit": base64(&commit.to_bytes()?)}))
    }

    fn store_psk(&mut self, fields: &Fields) -> Outcome<Value> {
        let secret = PreSharedKey::new(fields.bytes("secret")?);
        self.psks
            .insert(ExternalPskId::new(fields.bytes("id")?), secret);
        Ok(json!({}))
    }

    fn propose(&mut self, fields: &Fields) -> Outcome<Value> {
        let group = self.group()?;
        let nothing = Vec::new();
        let made = match fields.text("kind")? {
            "add" => {
                let package = MlsMessage::from_bytes(&fields.bytes("key_package")?)?;
                group.propose_add(package, nothing)
            }
            "remove" => group.propose_remove(fields.number("leaf")? as u32, nothing),
            "update" => group.propose_update(nothing),
            "psk" => group.propose_external_psk(ExternalPskId::new(fields.bytes("id")?), nothing),
            "context_extensions" => {
                group.propose_group_context_extensions(context_extensions(fields)?, nothing)
            }
            "custom" => group.propose_custom(custom(fields)?, nothing),
            kind => return Err(format!("unknown proposal {kind}").into()),
        }?;
        Ok(json!({"proposal": base64(&made.to_bytes()?)}))
    }

    fn commit(&mut self, fields: &Fields) -> Outcome<Value> {
        let packages = fields.all_bytes("add")?;
        let group = self.group()?;
        let ((commit, welcome, tree), ns) = timed(|| {
            let done = Self::committed(group, &packages, fields)?;
            group.apply_pending_commit()?;
            let welcome = done.welcome_messages().first();
            let welcome = welcome.map(|welcome| welcome.to_bytes()).transpose()?;
            let tree = group.export_tree().to_bytes()?;
            Ok((done.commit_message().to_bytes()?, welcome, tree))
        })?;
        Ok(json!({
            "commit": base64(&commit),
            "welcome": welcome.as_deref().map(base64),
            "tree": base64(&tree),
            "ns": ns,
        }))
    }

    fn committed(
        group: &mut Group<C>,
        packages: &[Vec<u8>],
        fields: &Fields,
    ) -> Outcome<CommitOutput> {
        let mut builder = group.commit_builder();
        for package in packages {
            builder = builder.add_member(MlsMessage::from_bytes(package)?)?;
        }
        for leaf in fields.all_numbers("remove") {
            builder = builder.remove_member(leaf as u32)?;
        }
        for psk in fields.all_fields("psk") {
            builder = if psk.has("epoch") {
                builder.add_resumption_psk(psk.number("epoch")?)?
            } else {
                builder.add_external_psk(ExternalPskId::new(psk.bytes("id")?))?
            };
        }
        for proposal in fields.all_fields("by_value") {
            builder = match proposal.text("kind")? {
                "context_extensions" => {
                    builder.set_group_context_ext(context_extensions(&proposal)?)?
                }
                "custom" => builder.custom_proposal(custom(&proposal)?),
                kind => return Err(format!("unknown proposal {kind}").into()),
            };
        }
        Ok(builder.build()?)
    }

    fn process(&mut self, fields: &Fields) -> Outcome<Value> {
        let message = fields.bytes("message")?;
        let group = self.group()?;
        let (received, ns) =
            timed(|| Ok(group.process_incoming_message(MlsMessage::from_bytes(&message)?)?))?;
        Ok(match received {
            ReceivedMessage::ApplicationMessage(message) => {
                json!({"kind": "application", "data": base64(message.data()), "ns": ns})
            }
            ReceivedMessage::Commit(_) => json!({"kind": "commit", "ns": ns}),
            ReceivedMessage::Proposal(_) => json!({"kind": "proposal", "ns": ns}),
            other => return Err(format!("no message for members: {other:?}").into()),
        })
    }

    fn encrypt(&mut self, fields: &Fields) -> Outcome<Value> {
        let authenticated = fields.bytes("authenticated_data")?;
        let data = fields.bytes("data")?;
        let made = self
            .group()?
            .encrypt_application_message(&data, authenticated)?;
        Ok(json!({"message": base64(&made.to_bytes()?)}))
    }

    fn group_info(&mut self, fields: &Fields) -> Outcome<Value> {
        let with_tree = fields.flag("with_tree");
        let group = self.group()?;
        let info = group.group_info_message_allowing_ext_commit(with_tree)?;
        let tree = group.export_tree().to_bytes()?;
        let tree = (!with_tree).then(|| base64(&tree));
        Ok(json!({"group_info": base64(&info.to_bytes()?), "tree": tree}))
    }

    fn export(&mut self, fields: &Fields) -> Outcome<Value> {
        let (label, context) = (fields.text("label")?, fields.bytes("context")?);
        let group = self.group()?;
        repeated(fields, || {
            Ok(group.export_secret(label.as_bytes(), &context, 32)?)
        })
    }

    fn save(&mut self, fields: &Fields) -> Outcome<Value> {
        let group = self.group()?;
        repeated(fields, || Ok(group.write_to_storage()?))
    }

    fn state(&mut self, fields: &Fields) -> Outcome<Value> {
        let group = self.group()?;
        let (label, context) = (fields.text("label")?, fields.bytes("context")?);
        let exported = group.export_secret(label.as_bytes(), &context, 32)?;
        Ok(json!({
            "epoch": group.current_epoch(),
            "leaf": group.current_member_index(),
            "authenticator": base64(group.epoch_authenticator()?.as_bytes()),
            "exporter": base64(exported.as_bytes()),
            "tree_hash": base64(&group.context().tree_hash),
        }))
    }
}

fn custom(fields: &Fields) -> Outcome<CustomProposal> {
    Ok(CustomProposal::new(PROPOSAL, fields.bytes("data")?))
}

/// An extension of the application's, which OpenMLS takes only where it is required of all.
fn context_extensions(fields: &Fields) -> Outcome<ExtensionList> {
    if fields.has("sender") {
        return Err("here nobody proposes from outside".into());
    }
    let required = RequiredCapabilitiesExt::new(vec![EXTENSION], vec![], vec![]);
    let mut extensions = ExtensionList::new();
    extensions.set(Extension::new(EXTENSION, fields.bytes("data")?));
    extensions.set_from(required)?;
    Ok(extensions)
}

fn exported(tree: Option<Vec<u8>>) -> Outcome<Option<ExportedTree<'static>>> {
    Ok(tree
        .map(|tree| ExportedTree::from_bytes(&tree))
        .transpose()?)
}

fn hello() -> Value {
    let suites = RustCryptoProvider::default().supported_cipher_suites();
    let suites = suites.into_iter().map(u16::from);
    json!({
        "peer": "mls-rs", "version": "0.55.4",
        "suites": suites.collect::<Vec<_>>(),
        "unsupported": {
            "tree_in_welcome": "an option of the client and not of a commit; here it is off",
        },
    })
}

/// `make` gives one type of client, which has no name that could be written down.
fn run<C: MlsConfig>(
    make: impl Fn(&Fields, InMemoryPreSharedKeyStorage) -> Outcome<Client<C>>,
) -> Outcome<()> {
    let mut members = HashMap::<String, Member<C>>::new();
    serve(|fields| {
        let operation = fields.text("op")?;
        if operation == "hello" {
            return Ok(hello());
        }
        let name = fields.text("client")?.to_owned();
        if operation == "client" {
            let psks = InMemoryPreSharedKeyStorage::default();
            let client = make(fields, psks.clone())?;
            let group = None;
            members.insert(
                name,
                Member {
                    client,
                    psks,
                    group,
                },
            );
            return Ok(json!({}));
        }
        if operation == "drop" {
            members.remove(&name);
            return Ok(json!({}));
        }
        let member = members.get_mut(&name).ok_or("no such client")?;
        match operation {
            "key_package" => member.key_package(),
            "create" => member.create(fields),
            "join" => member.join(fields),
            "join_external" => member.join_external(fields),
            "psk" => member.store_psk(fields),
            "propose" => member.propose(fields),
            "commit" => member.commit(fields),
            "process" => member.process(fields),
            "encrypt" => member.encrypt(fields),
            "group_info" => member.group_info(fields),
            "export" => member.export(fields),
            "save" => member.save(fields),
            "state" => member.state(fields),
            _ => Err(format!("unknown operation {operation}").into()),
        }
    })
}

fn main() -> Outcome<()> {
    run(client)
}

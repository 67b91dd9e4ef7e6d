//! The reader on real commits of mls-rs and on mutilated ones. Each mutilation is refused, or verifies nothing.

#![cfg(feature = "awslc")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use mls_rs::client_builder::{BaseConfig, WithCryptoProvider, WithIdentityProvider};
use mls_rs::group::ReceivedMessage;
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::identity::SigningIdentity;
use mls_rs::{
    CipherSuite, CipherSuiteProvider, Client, CryptoProvider, ExtensionList, Group, MlsMessage,
};
use mls_rs_crypto_awslc::AwsLcCryptoProvider;
use mlsrtc_core::reader::{
    inspect_commit, inspect_group_info, inspect_key_package, inspect_tree, inspect_welcome,
    interim_transcript_hash, Credential, LeafSource, Reason, Sender,
};

type Config = WithIdentityProvider<
    BasicIdentityProvider,
    WithCryptoProvider<AwsLcCryptoProvider, BaseConfig>,
>;

const SUITES: [u16; 3] = [1, 2, 7];

fn client(name: &str, suite: u16) -> Client<Config> {
    let crypto = AwsLcCryptoProvider::new();
    let suite = CipherSuite::new(suite);
    let (secret, public) = crypto
        .cipher_suite_provider(suite)
        .unwrap()
        .signature_key_generate()
        .unwrap();
    let credential = BasicCredential::new(name.as_bytes().to_vec()).into_credential();
    Client::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider::new())
        .signing_identity(SigningIdentity::new(credential, public), secret, suite)
        .build()
}

fn key_package(client: &Client<Config>) -> MlsMessage {
    client
        .generate_key_package_message(ExtensionList::new(), ExtensionList::new(), None)
        .unwrap()
}

fn group_info(group: &Group<Config>) -> Vec<u8> {
    group
        .group_info_message_allowing_ext_commit(true)
        .unwrap()
        .to_bytes()
        .unwrap()
}

/// A real commit with the GroupInfos before and after it, as its committer saw them.
struct Step {
    name: &'static str,
    before: Vec<u8>,
    commit: Vec<u8>,
    after: Vec<u8>,
    /// The signature key that must have signed: a member's, or the joiner's own.
    signature_key: Vec<u8>,
    signer: u32,
}

fn signature_key(group: &Group<Config>) -> Vec<u8> {
    let member = group.current_member_signing_identity().unwrap();
    member.signature_key.as_bytes().to_vec()
}

/// Founder adds two, adds and removes in one, an external commit, an update, a removal that empties the right half.
fn history(suite: u16) -> Vec<Step> {
    let founder = client("founder", suite);
    let mut group = founder
        .create_group(ExtensionList::new(), ExtensionList::new(), None)
        .unwrap();
    let mut steps = Vec::new();
    let mut commit = |group: &mut Group<Config>, name, adds: &[&str], removes: &[u32]| {
        let before = group_info(group);
        let mut builder = group.commit_builder().authenticated_data(name_of(name));
        for &index in removes {
            builder = builder.remove_member(index).unwrap();
        }
        for joiner in adds {
            builder = builder
                .add_member(key_package(&client(joiner, suite)))
                .unwrap();
        }
        let output = builder.build().unwrap();
        for welcome in &output.welcome_messages {
            let read = inspect_welcome(&welcome.to_bytes().unwrap()).unwrap();
            assert_eq!((read.suite, read.references.len()), (suite, adds.len()));
        }
        group.apply_pending_commit().unwrap();
        steps.push(Step {
            name,
            before,
            commit: output.commit_message.to_bytes().unwrap(),
            after: group_info(group),
            signature_key: signature_key(group),
            signer: group.current_member_index(),
        });
    };
    commit(&mut group, "root", &["second", "third"], &[]);
    commit(&mut group, "both", &["fourth", "fifth"], &[1]);
    commit(&mut group, "update", &[], &[]);
    commit(&mut group, "removal", &[], &[2, 3]);

    let before = group_info(&group);
    let joiner = client("external", suite);
    let (joined, message) = joiner
        .external_commit_builder()
        .unwrap()
        .with_authenticated_data(name_of("external"))
        .build(MlsMessage::from_bytes(&before).unwrap())
        .unwrap();
    steps.push(Step {
        name: "external",
        before,
        commit: message.to_bytes().unwrap(),
        after: group_info(&joined),
        signature_key: signature_key(&joined),
        signer: joined.current_member_index(),
    });
    let ReceivedMessage::Commit(_) = group.process_incoming_message(message).unwrap() else {
        panic!("an external commit is a commit");
    };
    steps
}

fn name_of(name: &str) -> Vec<u8> {
    format!("the commit called {name}").into_bytes()
}

/// Everything that a reader can check about a commit without secret and tree.
fn verifies(step: &Step, commit: &[u8]) -> bool {
    let before = inspect_group_info(&step.before).unwrap();
    let after = inspect_group_info(&step.after).unwrap();
    let suite = before.context.suite;
    let interim = interim_transcript_hash(
        suite,
        &before.context.confirmed_transcript_hash,
        &before.confirmation_tag,
    )
    .unwrap();
    let Ok(facts) = inspect_commit(commit) else {
        return false;
    };
    let (confirmed, _) = facts.transcript(suite, &interim).unwrap();
    facts
        .verify(&before.context.bytes, &step.signature_key)
        .is_ok()
        && confirmed == after.context.confirmed_transcript_hash
        && facts.confirmation_tag == after.confirmation_tag
        && facts.epoch == before.context.epoch
        && facts.group_id == before.context.group_id
}

#[test]
fn real_commits_verify_in_every_suite() {
    for suite in SUITES {
        for step in history(suite) {
            assert!(
                verifies(&step, &step.commit),
                "{} in suite {suite}",
                step.name
            );
            let facts = inspect_commit(&step.commit).unwrap();
            assert_eq!(facts.authenticated_data, name_of(step.name));
            let after = inspect_group_info(&step.after).unwrap();
            after.verify(&step.signature_key).unwrap();
            assert_eq!(after.signer, step.signer);
            assert!(after.external_pub.is_some());
            for package in &facts.adds {
                package.verify().unwrap();
            }
            if let Some(path) = &facts.path {
                assert_eq!(path.leaf.source, LeafSource::Commit);
                let place = Some((facts.group_id.as_slice(), step.signer));
                path.leaf.verify(suite, place).unwrap();
                assert_eq!(
                    path.leaf.verify(suite, None).unwrap_err().reason,
                    Reason::WrongLeafSource
                );
                let other = Some((facts.group_id.as_slice(), step.signer.wrapping_add(1)));
                assert_eq!(
                    path.leaf.verify(suite, other).unwrap_err().reason,
                    Reason::BadSignature
                );
            }
            let tree = inspect_tree(after.tree.as_deref().unwrap()).unwrap();
            assert_eq!(tree[&step.signer].signature_key, step.signature_key);
        }
    }
}

#[test]
fn what_a_commit_changes_is_read_in_its_order() {
    let steps = history(1);
    let shapes: Vec<_> = steps
        .iter()
        .map(|step| {
            let facts = inspect_commit(&step.commit).unwrap();
            let names: Vec<_> = facts
                .adds
                .iter()
                .map(|package| match &package.leaf.credential {
                    Credential::Basic(name) => String::from_utf8(name.clone()).unwrap(),
                    Credential::Other(kind) => panic!("credential {kind}"),
                })
                .collect();
            let sender = facts.sender;
            (
                names.join(" "),
                facts.removes,
                sender,
                facts.path.is_some(),
                facts.external_inits,
            )
        })
        .collect();
    let member = Sender::Member(0);
    assert_eq!(
        shapes[0],
        ("second third".to_owned(), vec![], member, false, 0)
    );
    assert_eq!(
        shapes[1],
        ("fourth fifth".to_owned(), vec![1], member, true, 0)
    );
    assert_eq!(shapes[2], (String::new(), vec![], member, true, 0));
    assert_eq!(shapes[3], (String::new(), vec![2, 3], member, true, 0));
    assert_eq!(
        shapes[4],
        (String::new(), vec![], Sender::NewMember, true, 1)
    );
}

#[test]
fn the_transcript_of_the_creator_starts_from_its_confirmation_tag() {
    let steps = history(1);
    let before = inspect_group_info(&steps[0].before).unwrap();
    assert_eq!(before.context.epoch, 0);
    assert!(before.context.confirmed_transcript_hash.is_empty());
    let tree = inspect_tree(before.tree.as_deref().unwrap()).unwrap();
    assert_eq!(tree.len(), 1);
    assert_eq!(tree[&0].tree_hash(1, 0).unwrap(), before.context.tree_hash);
}

#[test]
fn every_truncation_and_every_appended_byte_is_refused() {
    for step in history(1) {
        for length in 0..step.commit.len() {
            let refused = inspect_commit(&step.commit[..length]).unwrap_err();
            assert_eq!(
                refused.reason,
                Reason::Truncated,
                "{} cut at {length}",
                step.name
            );
        }
        for length in 0..step.after.len() {
            assert!(inspect_group_info(&step.after[..length]).is_err());
        }
        for byte in [0, 1, 0x40, 0xff] {
            let mut longer = step.commit.clone();
            longer.push(byte);
            assert_eq!(
                inspect_commit(&longer).unwrap_err().reason,
                Reason::TrailingBytes
            );
            let mut longer = step.after.clone();
            longer.push(byte);
            assert_eq!(
                inspect_group_info(&longer).unwrap_err().reason,
                Reason::TrailingBytes
            );
        }
    }
}

/// Every bit once, over all commits of a history: about 40,000 mutilations, of which only those that still parse
/// cost a signature.
#[test]
fn every_flipped_bit_of_a_commit_is_refused_or_verifies_nothing() {
    for step in history(1) {
        let membership_tag = match inspect_commit(&step.commit).unwrap().sender {
            Sender::Member(_) => 32, // HMAC-SHA256, which only members can check
            Sender::NewMember => 0,
        };
        let checked = step.commit.len() - membership_tag;
        for place in 0..checked {
            for bit in 0..8 {
                let mut twin = step.commit.clone();
                twin[place] ^= 1 << bit;
                assert!(
                    !verifies(&step, &twin),
                    "{}: bit {bit} of byte {place}",
                    step.name
                );
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_group_info_is_refused_or_verifies_nothing() {
    let steps = history(1);
    let step = &steps[0];
    for place in 0..step.after.len() {
        for bit in 0..8 {
            let mut twin = step.after.clone();
            twin[place] ^= 1 << bit;
            let verified = inspect_group_info(&twin)
                .is_ok_and(|facts| facts.verify(&step.signature_key).is_ok());
            assert!(!verified, "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn every_mutilated_key_package_is_refused_or_verifies_nothing() {
    let genuine = key_package(&client("joiner", 1)).to_bytes().unwrap();
    let facts = inspect_key_package(&genuine).unwrap();
    facts.verify().unwrap();
    for length in 0..genuine.len() {
        assert!(inspect_key_package(&genuine[..length]).is_err());
    }
    for place in 0..genuine.len() {
        for bit in 0..8 {
            let mut twin = genuine.clone();
            twin[place] ^= 1 << bit;
            let verified = inspect_key_package(&twin).is_ok_and(|facts| facts.verify().is_ok());
            assert!(!verified, "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn a_reference_is_the_one_that_a_welcome_names() {
    let founder = client("founder", 1);
    let mut group = founder
        .create_group(ExtensionList::new(), ExtensionList::new(), None)
        .unwrap();
    let package = key_package(&client("joiner", 1));
    let reference = inspect_key_package(&package.to_bytes().unwrap())
        .unwrap()
        .reference()
        .unwrap();
    let output = group
        .commit_builder()
        .add_member(package)
        .unwrap()
        .build()
        .unwrap();
    let welcome = output.welcome_messages[0].to_bytes().unwrap();
    assert_eq!(inspect_welcome(&welcome).unwrap().references, [reference]);
    for length in 0..welcome.len() {
        assert!(inspect_welcome(&welcome[..length]).is_err());
    }
}

#[test]
fn other_messages_are_refused_by_their_kind() {
    let steps = history(1);
    let package = key_package(&client("joiner", 1)).to_bytes().unwrap();
    let reason = |message: &[u8]| inspect_commit(message).unwrap_err().reason;
    assert_eq!(reason(&package), Reason::WrongWireFormat);
    assert_eq!(reason(&steps[0].after), Reason::WrongWireFormat);
    assert_eq!(reason(&[0, 2, 0, 1]), Reason::UnknownVersion);
    assert_eq!(inspect_commit(&[]).unwrap_err().place, "commit.version");
    let tree = inspect_group_info(&steps[0].after).unwrap().tree.unwrap();
    for length in 0..tree.len() {
        assert!(inspect_tree(&tree[..length]).is_err());
    }
}

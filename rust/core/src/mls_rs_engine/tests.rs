#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::{suites, Credential, Fault, SigningKey};

fn client(name: &str, suite: u16) -> Client {
    Client::new(
        Credential::Basic(name.into()),
        SigningKey::generate(suite).unwrap(),
        vec![(0xF4D1, name.into())],
        vec![],
        IdentityRules::default(),
    )
    .unwrap()
}

fn secrets(group: &Group) -> (Secret, Secret) {
    (
        group.epoch_authenticator().unwrap(),
        group.export(b"label", b"context", 32).unwrap(),
    )
}

#[test]
fn two_members_agree_in_every_suite() {
    for suite in suites() {
        let (one, two) = (client("one", suite), client("two", suite));
        let key_package = MlsRs::key_package(&two, Lifetime::WIDEST, &vec![]).unwrap();
        let first = MlsRs::create(&one, b"group", &vec![]).unwrap();
        let public = key_package.public();
        let made = MlsRs::commit(
            &first,
            &CommitRequest {
                proposals: &[Proposal::Add(public)],
                ..Default::default()
            },
        )
        .unwrap();
        let tree = MlsRs::tree(&made.group).unwrap();
        let joined = MlsRs::join(
            &two,
            made.welcome.as_deref().unwrap(),
            &[&key_package],
            Some(&tree),
            &[],
            None,
        )
        .unwrap();
        assert_eq!(secrets(&joined), secrets(&made.group));
        assert_eq!(
            MlsRs::confirmation_tag(&joined),
            MlsRs::confirmation_tag(&made.group)
        );
        assert_eq!(MlsRs::context(&first).epoch, 0);
        assert_eq!(MlsRs::roster(&joined).len(), 2);
        let update = MlsRs::commit(&joined, &CommitRequest::default()).unwrap();
        let staged = MlsRs::stage(&made.group, &update.message, &[], None).unwrap();
        assert_eq!(
            MlsRs::inspect(&staged).updated[0].credential.identity(),
            b"two"
        );
        assert_eq!(
            secrets(&MlsRs::apply(&staged).unwrap()),
            secrets(&update.group)
        );
    }
}

#[test]
fn the_table_is_cleared_by_a_panic() {
    let _ = shielded::<()>(|| {
        let call = table::Call::begin();
        call.require_path(true);
        panic!("the engine fell over")
    });
    assert!(!table::path_required());
}

/// An engine set up as other people set theirs up: the tree goes into the Welcome.
fn others(name: &str) -> mls_rs::Client<impl mls_rs::client_builder::MlsConfig> {
    use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
    use mls_rs::identity::SigningIdentity;

    let key = SigningKey::generate(1).unwrap();
    let credential = BasicCredential::new(name.into()).into_credential();
    let identity = SigningIdentity::new(credential, key.public_key().clone());
    mls_rs::Client::builder()
        .identity_provider(BasicIdentityProvider::new())
        .crypto_provider(crate::provider::Provider::new())
        .extension_type(mls_rs_core::extension::ExtensionType::new(0xF4D1))
        .signing_identity(identity, key.secret().clone(), 1.into())
        .build()
}

#[test]
fn a_welcome_that_carries_its_tree_is_joined_with_and_without_one_beside() {
    let ours = client("ours", 1);
    let key_package = MlsRs::key_package(&ours, Lifetime::WIDEST, &vec![]).unwrap();
    let message = mls_rs::MlsMessage::from_bytes(&key_package.public()).unwrap();
    let mut theirs = others("theirs")
        .create_group(Default::default(), Default::default(), None)
        .unwrap();
    let output = theirs
        .commit_builder()
        .add_member(message)
        .unwrap()
        .build()
        .unwrap();
    theirs.apply_pending_commit().unwrap();
    let welcome = output.welcome_messages[0].to_bytes().unwrap();
    let tree = theirs.export_tree().to_bytes().unwrap();
    for beside in [None, Some(tree.as_slice())] {
        let joined = MlsRs::join(&ours, &welcome, &[&key_package], beside, &[], None).unwrap();
        let authenticator = Secret::from(theirs.epoch_authenticator().unwrap().as_bytes());
        assert_eq!(MlsRs::epoch_authenticator(&joined).unwrap(), authenticator);
    }
}

#[test]
fn the_engine_reads_a_version_that_it_will_not_write() {
    // The trap behind `encoding::message`: what came is never encoded again, and its header is checked here.
    let mut bytes = MlsRs::key_package(&client("one", 1), Lifetime::WIDEST, &vec![])
        .unwrap()
        .public();
    bytes[1] = 2;
    let read = mls_rs::MlsMessage::from_bytes(&bytes).unwrap();
    assert!(read.as_key_package().is_some());
    let error = crate::key_package::received(&bytes).unwrap_err();
    assert_eq!(
        (error.fault, error.reason),
        (Fault::Remote, "unsupported_version")
    );
}

#[test]
fn the_engine_writes_at_most_one_past_epoch_at_a_time() {
    // The trap: with `prior_epoch` on the queue of past epochs, secrets and all, grows until a state is written.
    let one = client("one", 1);
    let mut group = MlsRs::create(&one, b"group", &vec![]).unwrap();
    for _ in 0..5 {
        group = MlsRs::commit(&group, &CommitRequest::default())
            .unwrap()
            .group;
        assert!(table::last_past_epochs() <= 1);
    }
    let mut unwritten = group.engine_for_tests();
    for _ in 0..3 {
        let (_, secrets) = unwritten.commit_builder().build_detached().unwrap();
        unwritten.apply_detached_commit(secrets).unwrap();
    }
    let _call = table::Call::begin();
    unwritten.write_to_storage().unwrap();
    assert_eq!(table::last_past_epochs(), 3);
}

#[test]
fn a_saved_state_that_lies_is_the_callers_to_mend() {
    let one = client("one", 1);
    let state = MlsRs::create(&one, b"group", &vec![])
        .unwrap()
        .save()
        .unwrap();
    let body = crate::saved::open(crate::saved::Kind::Group, &state).unwrap();
    for position in 0..body.len() {
        let mut bytes = body.to_vec();
        bytes[position] ^= 0x40;
        let sealed = crate::saved::seal(crate::saved::Kind::Group, &bytes).unwrap();
        if let Err(error) = MlsRs::load(&one, &sealed) {
            assert_eq!(error.fault, Fault::Local, "{error}");
        }
        let cut = crate::saved::seal(crate::saved::Kind::Group, &body[..position]).unwrap();
        assert_eq!(MlsRs::load(&one, &cut).unwrap_err().fault, Fault::Local);
    }
}

#[test]
fn every_message_that_is_cut_or_flipped_is_refused_without_a_panic() {
    let (one, two) = (client("one", 1), client("two", 1));
    let key_package = MlsRs::key_package(&two, Lifetime::WIDEST, &vec![]).unwrap();
    let first = MlsRs::create(&one, b"group", &vec![]).unwrap();
    let add = [Proposal::Add(key_package.public())];
    let request = CommitRequest {
        proposals: &add,
        path: true,
        ..Default::default()
    };
    let made = MlsRs::commit(&first, &request).unwrap();
    let welcome = made.welcome.unwrap();
    let tree = MlsRs::tree(&made.group).unwrap();
    let join = |bytes: &[u8]| Group::join(&two, bytes, &[&key_package], Some(&tree), &[], None);
    let at_two = join(&welcome).unwrap();
    let update = MlsRs::commit(&made.group, &CommitRequest::default())
        .unwrap()
        .message;
    for position in 0..update.len() {
        let mut bytes = update.clone();
        bytes[position] ^= 1 << (position % 8);
        // Not shielded here: a panic would fail the test.
        assert_eq!(
            at_two.stage(&bytes, &[], None).unwrap_err().fault,
            Fault::Remote
        );
        assert_eq!(
            at_two
                .stage(&update[..position], &[], None)
                .unwrap_err()
                .reason,
            "truncated"
        );
    }
    for position in 0..welcome.len() {
        let mut bytes = welcome.clone();
        bytes[position] ^= 1 << (position % 8);
        assert_eq!(join(&bytes).unwrap_err().fault, Fault::Remote);
    }
    assert!(at_two.stage(&update, &[], None).is_ok());
}

/// Section 7.2 forbids to list a default type in the capabilities, and section 7.3, taken by its letter, wants every extension
/// of a leaf listed. The engine does both, for its own leaves too, so that no leaf can have an application_id.
#[test]
fn the_engine_takes_no_leaf_with_an_application_id_listed_or_not() {
    use mls_rs::error::MlsError;
    use mls_rs_core::extension::ExtensionType;
    let who = client("one", 1);
    let leaf = extensions::list(&vec![(1, b"\x04name".to_vec())]);
    let found = |listed: Option<ExtensionType>| {
        mls_rs::Client::builder()
            .crypto_provider(crate::provider::Provider::new())
            .identity_provider(mls_rs::identity::basic::BasicIdentityProvider)
            .extension_types(listed)
            .signing_identity(
                config::signing_identity(&who),
                who.signing_key.secret().clone(),
                1.into(),
            )
            .build()
            .create_group(Default::default(), leaf.clone(), None)
            .err()
            .unwrap()
    };
    assert!(matches!(
        found(None),
        MlsError::ExtensionNotInCapabilities(ExtensionType::APPLICATION_ID)
    ));
    assert!(matches!(
        found(Some(ExtensionType::APPLICATION_ID)),
        MlsError::DefaultValueListed
    ));
}

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::{suites, SigningKey};

fn client(name: &str, suite: u16) -> Client {
    Client::new(
        name.into(),
        SigningKey::generate(suite).unwrap(),
        vec![(0xF4D1, name.into())],
        vec![],
        Successor::default(),
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
        let key_package = MlsRs::key_package(&two, Lifetime::WIDEST).unwrap();
        let first = MlsRs::create(&one, b"group", &vec![]).unwrap();
        let public = key_package.public();
        let made = MlsRs::commit(
            &first,
            &CommitRequest {
                add: &[&public],
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
            &vec![],
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
        let staged = MlsRs::stage(&made.group, &update.message, &vec![]).unwrap();
        assert_eq!(MlsRs::inspect(&staged).updated[0].identity, b"two");
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

//! What is handed to somebody who is in no group yet, or in one that knows nothing of its sender.

use mlsrtc_core::{
    CommitRequest, Engine, ExternalJoin, IdentityRules, MlsRs, Proposal, SigningKey,
};

use crate::edit::edited;
use crate::is_remote;
use crate::scene::{Scene, SCENE};
use crate::signed::signed;

/// The first byte says what is changed and whether its author signs it again; the rest is the script. What is changed
/// is taken or refused as somebody else's fault.
pub fn check(input: &[u8]) {
    let Some((what, script)) = input.split_first() else {
        return;
    };
    let scene = &*SCENE;
    let change = |genuine: &[u8]| edited(genuine, script, &scene.all());
    match what % 8 {
        0 => key_package(scene, &change(&scene.key_package.public())),
        1 => {
            let genuine = scene.key_package.public();
            let signed = resigned(&genuine, script, "KeyPackageTBS", &scene.joiner_key);
            key_package(scene, &signed);
        }
        2 => welcome(scene, &change(&scene.welcome), &scene.tree),
        3 => welcome(scene, &scene.welcome, &change(&scene.tree)),
        4 => group_info(scene, &change(&scene.group_info), &scene.own_tree),
        5 => {
            let signed = resigned(&scene.group_info, script, "GroupInfoTBS", &scene.keys[0]);
            group_info(scene, &signed, &scene.own_tree);
        }
        6 => group_info(scene, &scene.group_info, &change(&scene.own_tree)),
        _ => {
            key_package(scene, script);
            welcome(scene, script, script);
            group_info(scene, script, script);
        }
    }
}

/// An MLSMessage's version and wire format (RFC 9420 section 6).
const HEADER: usize = 4;
/// An Ed25519 signature behind its length, at the end of a KeyPackage and of a GroupInfo.
const SIGNATURE: usize = 2 + 64;

/// The message with its content changed, and signed by its author after that.
fn resigned(genuine: &[u8], script: &[u8], label: &str, key: &SigningKey) -> Vec<u8> {
    let (header, content) = genuine.split_at(HEADER);
    let content = edited(&content[..content.len() - SIGNATURE], script, &SCENE.all());
    let message = [header, &signed(&content, label, key)].concat();
    assert!(
        !script.is_empty() || message == genuine,
        "the change is not the only one"
    );
    message
}

fn key_package(scene: &Scene, bytes: &[u8]) {
    let request = CommitRequest {
        proposals: &[Proposal::Add(bytes.to_vec())],
        ..Default::default()
    };
    if let Err(error) = MlsRs::commit(&scene.groups[1], &request) {
        is_remote(&error);
    }
}

fn welcome(scene: &Scene, welcome: &[u8], tree: &[u8]) {
    if let Err(error) = MlsRs::join(
        &scene.joiner,
        welcome,
        &[&scene.key_package],
        Some(tree),
        &[],
        None,
    ) {
        is_remote(&error);
    }
}

fn group_info(scene: &Scene, group_info: &[u8], tree: &[u8]) {
    let join = ExternalJoin {
        group_info,
        tree: Some(tree),
        remove: None,
        psks: &[],
        authenticated_data: b"",
        now: None,
    };
    if let Err(error) = MlsRs::join_external(&scene.outsider, &join) {
        is_remote(&error);
    }
    let observed = MlsRs::observe(group_info, Some(tree), &IdentityRules::default(), None);
    let commit = &scene.messages[0].bytes;
    if let Err(error) = observed.and_then(|observer| MlsRs::follow(&observer, commit)) {
        is_remote(&error);
    }
}

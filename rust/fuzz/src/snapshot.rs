//! What was saved and comes back from a disk.

use mlsrtc_core::{Client, Engine, Error, Fault, KeyPackage, MlsRs, Secret};
use sha2::{Digest, Sha256};

use crate::edit::edited;
use crate::scene::{Group, SCENE};

/// `MLS`, kind, version; then the hash of what follows it.
const HEADER: usize = 5;
const DIGEST: usize = 32;

/// The first byte says what was saved, and whether the hash is set right after the script has changed it. It loads or
/// is refused as ours; what loads can be used, saved and loaded again, and the genuine state loads after it.
pub fn check(input: &[u8]) {
    let Some((what, script)) = input.split_first() else {
        return;
    };
    let scene = &*SCENE;
    let (saved, client) = match what % 3 {
        // One that keeps nothing beside the engine's state, and one that does.
        0 => (MlsRs::save(&scene.joined), Some(&scene.joiner)),
        1 => (scene.key_package.save(), None),
        _ => (MlsRs::save(&scene.talked), Some(&scene.clients[1])),
    };
    let saved = saved.expect("saved");
    let (header, body) = saved.expose().split_at(HEADER + DIGEST);
    let others: [&[u8]; 2] = [&scene.tree, saved.expose()];
    let changed = if what / 3 % 2 == 0 {
        let body = edited(body, script, &others);
        [&header[..HEADER], &Sha256::digest(&body), &body].concat()
    } else {
        edited(saved.expose(), script, &others)
    };
    let changed = Secret::from(changed);
    if let Some(client) = client {
        match MlsRs::load(client, &changed) {
            Ok(group) => used(client, &group),
            Err(error) => is_local(&error),
        }
        assert!(
            MlsRs::load(client, &saved).is_ok(),
            "the genuine state does not load"
        );
    } else {
        match KeyPackage::load(&changed) {
            Ok(package) => drop(package.save().expect("saved")),
            Err(error) => is_local(&error),
        }
        assert!(
            KeyPackage::load(&saved).is_ok(),
            "the genuine key package does not load"
        );
    }
}

/// A group of a state that was forged under a right hash may be unable to do its work, and the engine may even panic over
/// a commit: the shield turns that into an error.
fn used(client: &Client, group: &Group) {
    let [commit, _, _, said, ..] = SCENE.messages.as_slice() else {
        unreachable!("a scene has messages");
    };
    let _ = MlsRs::export(group, b"label", b"context", 32);
    let _ = MlsRs::tree(group);
    let _ = MlsRs::roster(group);
    let _ = MlsRs::stage(group, &commit.bytes, &[], None);
    let _ = MlsRs::decrypt(group, &said.bytes);
    let saved = MlsRs::save(group).expect("saved");
    let again = MlsRs::load(client, &saved).expect("what was loaded is saved and loads");
    assert_eq!(MlsRs::context(&again), MlsRs::context(group));
}

fn is_local(error: &Error) {
    assert_eq!(error.fault, Fault::Local, "{error:?}");
    assert!(!error.reason.is_empty());
    assert_ne!(
        error.detail, "the engine gave up on it",
        "a panic inside the engine"
    );
}

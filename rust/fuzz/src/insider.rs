//! What a member, or somebody who joins from outside, signs although it is wrong.

use mlsrtc_core::{CommitRequest, Engine, MlsRs};

use crate::edit::edited;
use crate::is_remote;
use crate::member::has_its_meaning;
use crate::scene::{Group, Meaning, Message, Scene, SCENE};
use crate::signed::{mac, opaque, signature};

/// MLSMessage: mls10, mls_public_message.
const HEADER: [u8; 4] = [0, 1, 0, 1];
const SIGNATURE: usize = 2 + 64;
const TAG: usize = 1 + 32;

/// The first byte says who receives which genuine message; the rest is the script that changes its content, which its
/// author then signs again and tags as a member.
pub fn check(input: &[u8]) {
    let Some((what, script)) = input.split_first() else {
        return;
    };
    let scene = &*SCENE;
    let group = &scene.groups[1 + usize::from(what % 2)];
    let signed: Vec<&Message> = scene
        .messages
        .iter()
        .filter(|one| one.bytes.starts_with(&HEADER))
        .collect();
    let turn = usize::from(what / 2) % signed.len();
    let genuine = signed[turn];
    // The last one comes from outside.
    let resigned = resigned(scene, genuine, script, turn + 1 == signed.len());
    assert!(
        !script.is_empty() || resigned == genuine.bytes,
        "the change is not the only one"
    );
    match genuine.meaning {
        Meaning::Commit(_) => commit(group, &resigned, genuine),
        _ => proposal(group, &resigned, genuine),
    }
}

/// No commit but the genuine one is taken: the confirmation tag is over what was changed. Only one that removes its
/// receiver passes, for who is removed cannot derive the key of that tag (RFC 9420 section 12.4.2).
fn commit(group: &Group, message: &[u8], genuine: &Message) {
    match MlsRs::stage(group, message, &[], None) {
        Ok(staged) => assert!(
            message == genuine.bytes || MlsRs::inspect(&staged).removes_us,
            "a commit that its tag does not fit is taken"
        ),
        Err(error) => is_remote(&error),
    }
    has_its_meaning(group, genuine);
}

/// A proposal may be lawful after the change. Whatever is remembered, the group can commit, and takes the commits of
/// others.
fn proposal(group: &Group, message: &[u8], genuine: &Message) {
    match MlsRs::with_proposal(group, message) {
        Ok(with) => {
            MlsRs::commit(&with, &CommitRequest::default()).expect("a member can commit");
            has_its_meaning(&with, &SCENE.messages[0]);
        }
        Err(error) => is_remote(&error),
    }
    has_its_meaning(group, genuine);
}

/// The PublicMessage with the changed content (RFC 9420 sections 6.1 and 6.2).
fn resigned(scene: &Scene, genuine: &Message, script: &[u8], external: bool) -> Vec<u8> {
    let confirmation = match genuine.meaning {
        Meaning::Commit(_) => TAG,
        _ => 0,
    };
    let membership = if external { 0 } else { TAG };
    let key = if external {
        &scene.outsider_key
    } else {
        &scene.keys[0]
    };
    let (rest, _) = genuine.bytes.split_at(genuine.bytes.len() - membership);
    let (rest, confirmation_tag) = rest.split_at(rest.len() - confirmation);
    let content = &rest[HEADER.len()..rest.len() - SIGNATURE];
    let content = edited(content, script, &scene.all());
    let to_be_signed = [
        &HEADER,
        &*content,
        &MlsRs::context(&scene.groups[1]).encoded,
    ]
    .concat();
    let auth = [
        &opaque(&signature(&to_be_signed, "FramedContentTBS", key)),
        confirmation_tag,
    ]
    .concat();
    let mut message = [&HEADER, &*content, &auth].concat();
    if !external {
        let tagged = [to_be_signed, auth].concat();
        message.extend(opaque(&mac(&scene.membership_key, &tagged)));
    }
    message
}

/// The membership key of an epoch, which a member's saved state holds: the 32 bytes that give a genuine commit's tag.
pub(crate) fn membership_key(state: &[u8], commit: &[u8], context: &[u8]) -> Vec<u8> {
    let (tagged, tag) = commit.split_at(commit.len() - TAG);
    let (content, auth) = tagged.split_at(tagged.len() - SIGNATURE - TAG);
    let tagged = [content, context, auth].concat();
    let key = state.windows(32).find(|key| mac(key, &tagged) == tag[1..]);
    key.expect("a member knows the membership key").to_vec()
}

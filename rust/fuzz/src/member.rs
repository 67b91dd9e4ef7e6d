//! What a member of a group receives.

use mlsrtc_core::{Engine, MlsRs};

use crate::edit::edited;
use crate::is_remote;
use crate::scene::{applied, Group, Meaning, Message, SAID, SCENE};

/// The first byte says who receives which genuine message; the rest is the script that changes it. Handed to each way
/// that a message can go, it is taken where it is genuine, byte for byte, or else refused. Afterwards the genuine message
/// still has its meaning.
pub fn check(input: &[u8]) {
    let Some((what, script)) = input.split_first() else {
        return;
    };
    let scene = &*SCENE;
    let genuine = &scene.messages[usize::from(what / 2) % scene.messages.len()];
    let group = &scene.groups[1 + usize::from(what % 2)];
    let message = edited(&genuine.bytes, script, &scene.all());
    let was_made = |of: fn(&Meaning) -> bool| {
        scene
            .messages
            .iter()
            .any(|one| of(&one.meaning) && one.bytes == message)
    };
    match MlsRs::stage(group, &message, &[], None) {
        Ok(_) => assert!(was_made(|it| matches!(it, Meaning::Commit(_))), "{FORGED}"),
        Err(error) => is_remote(&error),
    }
    match MlsRs::with_proposal(group, &message) {
        Ok(_) => assert!(
            was_made(|it| matches!(it, Meaning::Proposal(_))),
            "{FORGED}"
        ),
        Err(error) => is_remote(&error),
    }
    match MlsRs::decrypt(group, &message) {
        Ok(_) => assert!(
            was_made(|it| matches!(it, Meaning::Application)),
            "{FORGED}"
        ),
        Err(error) => is_remote(&error),
    }
    has_its_meaning(group, genuine);
}

const FORGED: &str = "a message that nobody made is taken";

/// A genuine message does what its author meant, and the group knows nothing that came before.
pub fn has_its_meaning(group: &Group, genuine: &Message) {
    match &genuine.meaning {
        Meaning::Commit(authenticator) => {
            let next = applied(group, &genuine.bytes);
            let found = MlsRs::epoch_authenticator(&next).expect("an epoch");
            assert!(found == *authenticator, "the group goes another way");
        }
        Meaning::Proposal(proposal) => {
            let next = MlsRs::with_proposal(group, &genuine.bytes).expect("a genuine proposal");
            let known = MlsRs::proposals(&next).expect("proposals");
            assert!(known.len() == 1 && known[0].proposal == *proposal);
        }
        Meaning::Application => {
            let read = MlsRs::decrypt(group, &genuine.bytes).expect("a genuine message");
            assert_eq!(read.data, SAID);
        }
    }
}

//! docs/protocol.md, "Encodings", a second time and on its own: what a device puts into its leaf and its commits.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// Type of the leaf extension that holds the binding.
pub const BINDING: u16 = 0xf4d1;

fn lp(out: &mut Vec<u8>, item: &[u8]) {
    out.extend_from_slice(&(item.len() as u16).to_be_bytes());
    out.extend_from_slice(item);
}

pub fn tuple(items: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        lp(&mut out, item);
    }
    out
}

pub fn digest(items: &[&[u8]]) -> Vec<u8> {
    Sha256::digest(tuple(items)).to_vec()
}

/// A call in a room: what everything is bound to.
pub struct Call {
    pub room: &'static str,
    pub slot: &'static str,
}

impl Call {
    pub fn member_id(
        &self,
        user: &str,
        device: &str,
        device_key: &[u8],
        leaf_key: &[u8],
    ) -> String {
        let hash = digest(&[
            b"mlsrtc member 1",
            self.room.as_bytes(),
            self.slot.as_bytes(),
            user.as_bytes(),
            device.as_bytes(),
            device_key,
            leaf_key,
        ]);
        URL_SAFE_NO_PAD.encode(hash)
    }

    pub fn group_id(&self, creator: &str) -> Vec<u8> {
        let (room, slot) = (self.room.as_bytes(), self.slot.as_bytes());
        digest(&[b"mlsrtc group 1", room, slot, creator.as_bytes()])
    }

    /// Body of the leaf extension: the device key and its signature over text.
    pub fn binding(
        &self,
        device_key: &SigningKey,
        user: &str,
        device: &str,
        member_id: &str,
        leaf_key: &[u8],
    ) -> Vec<u8> {
        let hash = digest(&[
            b"mlsrtc binding 1",
            self.room.as_bytes(),
            self.slot.as_bytes(),
            user.as_bytes(),
            device.as_bytes(),
            member_id.as_bytes(),
            leaf_key,
        ]);
        let text = format!("mlsrtc binding 1 {}", hex::encode(hash));
        let signature = device_key.sign(text.as_bytes());
        [
            device_key.verifying_key().as_bytes().as_slice(),
            &signature.to_bytes(),
        ]
        .concat()
    }

    /// What a leaver's leaf key signs.
    pub fn left(&self, member_id: &str) -> Vec<u8> {
        let (room, slot) = (self.room.as_bytes(), self.slot.as_bytes());
        tuple(&[b"mlsrtc left 1", room, slot, member_id.as_bytes()])
    }
}

/// A commit's authenticated data, with no refusal and nobody named as gone. A root's parent is empty.
pub fn commit_data(parent: &[u8], n: u64, left: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut sorted = left.to_vec();
    sorted.sort();
    let mut out = tuple(&[b"mlsrtc commit 1", parent]);
    out.extend_from_slice(&n.to_be_bytes());
    out.extend_from_slice(&(sorted.len() as u16).to_be_bytes());
    for (member_id, signature) in &sorted {
        lp(&mut out, member_id.as_bytes());
        lp(&mut out, signature);
    }
    lp(&mut out, b"");
    lp(&mut out, b"");
    out.extend_from_slice(&0_u16.to_be_bytes());
    out
}

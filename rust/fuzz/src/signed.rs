//! SignWithLabel and the tags of a PublicMessage, for the members of the scene. Suite 1: Ed25519, HMAC-SHA-256.

use hmac::{Hmac, KeyInit, Mac};
use mlsrtc_core::SigningKey;
use sha2::Sha256;

/// `opaque value<V>` (RFC 9420 section 2.1.2), as far as 16 kB.
pub fn opaque(value: &[u8]) -> Vec<u8> {
    let size = value.len();
    let mut bytes = match size {
        0..=63 => vec![size as u8],
        64..=16383 => (size as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (size as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    };
    bytes.extend_from_slice(value);
    bytes
}

/// `content` and its signature (section 5.1.2).
pub fn signed(content: &[u8], label: &str, key: &SigningKey) -> Vec<u8> {
    [content, &opaque(&signature(content, label, key))].concat()
}

pub fn signature(content: &[u8], label: &str, key: &SigningKey) -> Vec<u8> {
    let labelled = [
        opaque(format!("MLS 1.0 {label}").as_bytes()),
        opaque(content),
    ]
    .concat();
    key.sign(&labelled).expect("a signature")
}

pub fn mac(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(content);
    mac.finalize().into_bytes().to_vec()
}

//! The crate `sframe` behind the line protocol of `tests/interop/peers.py`. It holds no state:
//!
//!     hello                                                  -> peer, version, suites, unsupported
//!     header   kid, counter                                  -> message
//!     seal     suite, base_key, kid, counter, data, metadata -> message
//!     open     suite, base_key, kid, message, metadata       -> data, counter

#[allow(dead_code)]
#[path = "../../line.rs"]
mod line;

use serde_json::{json, Value};
use sframe::frame::{EncryptedFrameView, MediaFrameView, PanickingSingleUseCounter};
use sframe::header::SframeHeader;
use sframe::key::{DecryptionKey, EncryptionKey};
use sframe::CipherSuite;

use line::{base64, serve, Fields, Outcome};

const SUITES: [CipherSuite; 5] = [
    CipherSuite::AesCtr128HmacSha256_80,
    CipherSuite::AesCtr128HmacSha256_64,
    CipherSuite::AesCtr128HmacSha256_32,
    CipherSuite::AesGcm128Sha256,
    CipherSuite::AesGcm256Sha512,
];

fn suite(fields: &Fields) -> Outcome<CipherSuite> {
    let number = fields.number("suite")?;
    let found = SUITES.into_iter().find(|suite| *suite as u64 == number);
    Ok(found.ok_or("no such suite")?)
}

fn seal(fields: &Fields) -> Outcome<Value> {
    let kid = fields.number("kid")?;
    let key = EncryptionKey::derive_from(suite(fields)?, kid, fields.bytes("base_key")?)?;
    let mut counter = PanickingSingleUseCounter::new(fields.number("counter")?);
    let (data, metadata) = (fields.bytes("data")?, fields.bytes("metadata")?);
    let frame = MediaFrameView::with_meta_data(&mut counter, &data, &metadata).encrypt(&key)?;
    Ok(json!({"message": base64(frame.sframe_cipher_text())}))
}

fn open(fields: &Fields) -> Outcome<Value> {
    let kid = fields.number("kid")?;
    let key = DecryptionKey::derive_from(suite(fields)?, kid, fields.bytes("base_key")?)?;
    let (message, metadata) = (fields.bytes("message")?, fields.bytes("metadata")?);
    let frame = EncryptedFrameView::try_with_meta_data(&message, &metadata)?.decrypt(&key)?;
    Ok(json!({"data": base64(frame.payload()), "counter": frame.counter()}))
}

fn header(fields: &Fields) -> Outcome<Value> {
    let header = SframeHeader::new(fields.number("kid")?, fields.number("counter")?);
    Ok(json!({"message": base64(&Vec::from(&header))}))
}

fn answer(fields: &Fields) -> Outcome<Value> {
    match fields.text("op")? {
        "hello" => {
            let suites: Vec<u16> = SUITES.iter().map(|suite| *suite as u16).collect();
            Ok(json!({"peer": "sframe", "version": "2.1.0", "suites": suites, "unsupported": {}}))
        }
        "header" => header(fields),
        "seal" => seal(fields),
        "open" => open(fields),
        other => Err(format!("no operation {other}").into()),
    }
}

fn main() -> Outcome<()> {
    serve(answer)
}

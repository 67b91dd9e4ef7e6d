//! Application messages (RFC 9420 sections 6.3 and 15): encrypting them, each key once, and opening them within limits.

use std::sync::Arc;

use mls_rs::group::{ContentType, ReceivedMessage};
use mls_rs::{MlsMessageDescription, WireFormat};

use super::blame::Doing;
use super::group::{write, Group};
use super::kept::{Past, Seen};
use crate::encoding::message;
use crate::message::{Limits, Outgoing, Padding, Received};
use crate::{Error, Result};

/// Bytes of data, and of authenticated data, that one message takes: half of what a vector holds (RFC 9420 section 2.1.2),
/// so that no padding can push it over.
const MOST: usize = 1 << 29;

impl Group {
    pub(super) fn encrypt(
        &self,
        data: &[u8],
        authenticated_data: &[u8],
        padding: Padding,
    ) -> Result<Outgoing<Self>> {
        if data.len().max(authenticated_data.len()) > MOST {
            return Err(
                Error::local("too_long", format!("more than {MOST} bytes in one message"))
                    .section("RFC 9420 section 2.1.2"),
            );
        }
        self.may_send()?;
        let call = self.begin(&[]);
        call.encrypt(false, padding);
        let mut engine = self.0.engine.clone();
        let message = engine
            .encrypt_application_message(data, authenticated_data.to_vec())
            .and_then(|message| message.to_bytes())
            .map_err(|error| Doing::Alone("message").failed(error))?;
        let mut kept = self.0.kept.clone();
        // Only now, and before the message is shown to anybody: two threads may come here with one key.
        kept.sent = self.0.shared.spent.take_application(kept.sent)?;
        Ok(Outgoing {
            message,
            group: self.step(engine, kept),
        })
    }

    pub(super) fn decrypt(&self, bytes: &[u8]) -> Result<Received<Self>> {
        let message = message(bytes, "message", &[WireFormat::PrivateMessage])?;
        let (epoch, application) = match message.description() {
            MlsMessageDescription::PrivateProtocolMessage {
                epoch_id,
                content_type,
                ..
            } => (epoch_id, content_type == ContentType::Application),
            _ => (0, false),
        };
        if !application {
            return Err(
                Error::remote("wrong_message_type", "an application message was expected")
                    .at("message")
                    .section("RFC 9420 section 6.3"),
            );
        }
        let call = self.begin(&[]);
        let mut engine = self.0.engine.clone();
        let opened = match engine.process_incoming_message(message) {
            Ok(ReceivedMessage::ApplicationMessage(opened)) => opened,
            Ok(_) => {
                return Err(Error::remote(
                    "wrong_message_type",
                    "not an application message",
                ))
            }
            Err(error) => return Err(Doing::Reading("message").failed(error)),
        };
        let generation = opened.unauthenticated_key_generation.ok_or_else(|| {
            Error::local("engine_refused", "the engine does not tell the generation")
        })?;
        let (leaf, limits) = (opened.sender_index, self.0.terms.limits);
        let mut kept = self.0.kept.clone();
        let group = if epoch == self.0.shared.context.epoch {
            self.goes_on("message")?;
            let dropped = advance(&mut kept.seen, leaf, generation, limits)?;
            for old in dropped {
                // The engine knows leaves by their nodes here. A key that is gone already is what we want.
                let _ = engine.derive_decryption_key(leaf.saturating_mul(2), old);
            }
            self.step(engine, kept)
        } else {
            let place = kept.past.iter_mut().find(|past| past.epoch == epoch);
            let place =
                place.ok_or_else(|| Error::local("engine_refused", "an epoch we do not keep"))?;
            let mut seen = place.seen.clone();
            advance(&mut seen, leaf, generation, limits)?;
            write(&mut engine, &call)?;
            let record = call
                .take_changed()
                .ok_or_else(|| Error::local("store_failure", "the engine wrote no record"))?;
            *place = Arc::new(Past {
                epoch,
                record: record.data,
                seen,
            });
            self.step(engine, kept)
        };
        Ok(Received {
            data: opened.data().to_vec(),
            sender: leaf,
            epoch,
            generation,
            authenticated_data: opened.authenticated_data.clone(),
            group,
        })
    }
}

/// Takes a generation in, if the limits allow. Gives those whose keys are to be dropped, since they are too far behind now.
fn advance(
    seen: &mut Seen,
    leaf: u32,
    generation: u32,
    limits: Limits,
) -> Result<std::ops::Range<u32>> {
    const SECTION: &str = "RFC 9420 section 9.1";
    let next = seen.entry(leaf).or_default();
    if generation >= *next && generation - *next > limits.ahead() {
        let detail = format!("{} messages are missing before it", generation - *next);
        return Err(Error::remote("too_far_ahead", detail)
            .at("message")
            .section(SECTION));
    }
    let floor = next.saturating_sub(limits.behind());
    if generation < floor {
        let detail = format!("{} messages behind the newest", *next - generation);
        return Err(Error::remote("message_key_gone", detail)
            .at("message")
            .section(SECTION));
    }
    *next = (*next).max(generation.saturating_add(1));
    Ok(floor..next.saturating_sub(limits.behind()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_taken_in_within_the_limits() {
        let limits = Limits::new(3, 2, 0).unwrap();
        let mut seen = Seen::new();
        let mut take =
            |generation| advance(&mut seen, 7, generation, limits).map_err(|error| error.reason);
        assert_eq!(take(4), Err("too_far_ahead"));
        assert_eq!(take(3), Ok(0..2));
        assert_eq!(take(1), Err("message_key_gone"));
        assert_eq!(take(2), Ok(2..2));
        assert_eq!(take(4), Ok(2..3));
        assert_eq!(take(9), Err("too_far_ahead"));
    }
}

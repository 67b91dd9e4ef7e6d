//! Edit scripts: how a fuzzer's bytes change a genuine message. Knows nothing of messages.
//!
//! A script does not depend on the message it is applied to, so that one corpus serves every run although each run's
//! keys are its own. Each edit is one byte of what, two of where, one of with what:
//!
//! | what mod 8 | |
//! | --- | --- |
//! | 0 | set the byte |
//! | 1 | turn the bits |
//! | 2 | insert the byte |
//! | 3 | delete that many bytes |
//! | 4 | cut the rest off |
//! | 5 | write that many bytes of another genuine message over it |
//! | 6 | insert that many bytes of another genuine message |
//! | 7 | copy that many bytes from here to the end |

/// Applies a script to `genuine`; `others` are what it splices from.
pub fn edited(genuine: &[u8], script: &[u8], others: &[&[u8]]) -> Vec<u8> {
    let mut bytes = genuine.to_vec();
    for edit in script.chunks_exact(4) {
        let [what, high, low, with] = [edit[0], edit[1], edit[2], edit[3]];
        if bytes.is_empty() {
            return bytes;
        }
        // Counted from the end if the high bit is set: tags and signatures are there.
        let distance = usize::from(u16::from_be_bytes([high & 0x7f, low])) % bytes.len();
        let place = if high < 0x80 {
            distance
        } else {
            bytes.len() - 1 - distance
        };
        let until = |length: usize| (place + usize::from(with)).min(length);
        let other = |count: usize| {
            let other = others
                .get(usize::from(what / 8) % others.len().max(1))
                .copied()
                .unwrap_or(&[]);
            let from = place.min(other.len());
            other[from..(from + count).min(other.len())].to_vec()
        };
        match what % 8 {
            0 => bytes[place] = with,
            1 => bytes[place] ^= with,
            2 => bytes.insert(place, with),
            3 => drop(bytes.drain(place..until(bytes.len()))),
            4 => bytes.truncate(place),
            5 => {
                let piece = other(usize::from(with));
                let end = (place + piece.len()).min(bytes.len());
                bytes.splice(place..end, piece);
            }
            6 => drop(bytes.splice(place..place, other(usize::from(with)))),
            _ => bytes.extend_from_within(place..until(bytes.len())),
        }
    }
    bytes
}

//! Bytes that are wiped when they are dropped. Knows nothing of what they are for.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret value: wiped on drop, compared in constant time, silent when printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The value. Whoever copies it out answers for the copy.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes, which is not secret.
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<u8>> for Secret {
    fn from(value: Vec<u8>) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl From<&[u8]> for Secret {
    fn from(value: &[u8]) -> Self {
        Self(Zeroizing::new(value.to_vec()))
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(value: Zeroizing<Vec<u8>>) -> Self {
        Self(value)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_silent_when_printed() {
        assert_eq!(
            format!("{:?}", Secret::from(b"do not tell".to_vec())),
            "Secret(11 bytes)"
        );
    }

    #[test]
    fn compares_by_value() {
        assert_eq!(Secret::from(vec![1, 2]), Secret::from(vec![1, 2]));
        assert_ne!(Secret::from(vec![1, 2]), Secret::from(vec![1, 3]));
        assert_ne!(Secret::from(vec![1, 2]), Secret::from(vec![1, 2, 0]));
    }
}

//! Extensions between our values and the engine's, and those whose contents the standard defines, encoded (RFC 9420
//! sections 11.1 and 12.1.8.1).

use mls_rs::extension::built_in::{ExternalSendersExt, RequiredCapabilitiesExt};
use mls_rs::extension::MlsExtension;
use mls_rs::identity::SigningIdentity;
use mls_rs::{Extension, ExtensionList};
use mls_rs_core::crypto::SignaturePublicKey;
use mls_rs_core::extension::ExtensionType;

use crate::extensions::Extensions;
use crate::place::Place;
use crate::provider::is_signature_key;
use crate::{Credential, Error, Result};

pub(super) const NO_SENDERS_KEY: &str =
    "an external sender's key is no signature key of the group's cipher suite";

/// Where the standard says what it is.
pub(super) const SENDERS_KEYS: &str = "RFC 9420 sections 5.1.1, 12.1.8.1";

/// Extensions that the caller wants in a GroupContext of this suite: each in its place, the standard's readable, and the
/// keys in them keys.
pub(super) fn of_context(suite: u16, extensions: &Extensions) -> Result<()> {
    Place::GroupContext.check(extensions)?;
    let unreadable = |section| {
        move |_| {
            Error::local("bad_extension", "the contents are not what its type says")
                .section(section)
        }
    };
    let list = list(extensions);
    list.get_as::<RequiredCapabilitiesExt>()
        .map_err(unreadable("RFC 9420 section 11.1"))?;
    let senders = list
        .get_as::<ExternalSendersExt>()
        .map_err(unreadable("RFC 9420 section 12.1.8.1"))?;
    let fits = |one: &SigningIdentity| is_signature_key(suite, &one.signature_key);
    if senders.is_none_or(|named| named.allowed_senders().iter().all(fits)) {
        Ok(())
    } else {
        Err(Error::local("bad_key", NO_SENDERS_KEY).section(SENDERS_KEYS))
    }
}

/// The engine's list as values.
pub(super) fn values(list: &ExtensionList) -> Extensions {
    list.iter()
        .map(|one| (one.extension_type.raw_value(), one.extension_data.clone()))
        .collect()
}

/// Our values as the engine's list.
pub(super) fn list(extensions: &Extensions) -> ExtensionList {
    extensions
        .iter()
        .map(|(number, data)| Extension::new(ExtensionType::new(*number), data.clone()))
        .collect()
}

/// What every member must understand (RFC 9420 section 11.1), as an extension of the GroupContext.
pub fn required_capabilities(
    extensions: &[u16],
    proposals: &[u16],
    credentials: &[u16],
) -> Result<(u16, Vec<u8>)> {
    encoded(RequiredCapabilitiesExt::new(
        extensions.iter().map(|number| (*number).into()).collect(),
        proposals.iter().map(|number| (*number).into()).collect(),
        credentials.iter().map(|number| (*number).into()).collect(),
    ))
}

/// Who may propose from outside (RFC 9420 section 12.1.8.1), as an extension of the GroupContext.
pub fn external_senders(senders: &[(Credential, Vec<u8>)]) -> Result<(u16, Vec<u8>)> {
    let allowed = senders
        .iter()
        .map(|(credential, key)| {
            credential.check()?;
            let key = SignaturePublicKey::new_slice(key);
            Ok(SigningIdentity::new(credential.to_engine(), key))
        })
        .collect::<Result<_>>()?;
    encoded(ExternalSendersExt::new(allowed))
}

fn encoded<T: MlsExtension>(extension: T) -> Result<(u16, Vec<u8>)> {
    let made = extension
        .into_extension()
        .map_err(|error| Error::local("too_long", format!("{error:?}")))?;
    Ok((made.extension_type().raw_value(), made.extension_data))
}

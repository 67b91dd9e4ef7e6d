//! What Python gives for an argument, as the core's values, and what is raised if it is none.
//!
//! PyO3 tells an extraction the value and not the name of the argument. So every argument is taken as a `Given`, which
//! holds a refusal back until `given!` raises it with the name: TypeError for another type, LocalProtocolError for a
//! number out of range or text with a lone surrogate.

use std::borrow::Cow;
use std::ops::Deref;

use mlsrtc_core::{Error, Padding};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyMapping, PySequence, PyString, PyTuple};
use pyo3::{Borrowed, PyClass};

use crate::client::KeyPackage;
use crate::commit::Commit;
use crate::credential::Credential;
use crate::errors::{Raised, Result};
use crate::keys::SigningKey;
use crate::message::Outgoing;
use crate::secret::Secret;

/// An argument: its value, or why what was given is none.
pub(crate) struct Given<T>(std::result::Result<T, Unfit>);

impl<T> Given<T> {
    /// For a default.
    pub(crate) fn of(value: T) -> Self {
        Self(Ok(value))
    }
}

impl<T: Default> Default for Given<T> {
    fn default() -> Self {
        Self::of(T::default())
    }
}

impl<'a, 'py, T: Take<'a, 'py>> FromPyObject<'a, 'py> for Given<T> {
    type Error = std::convert::Infallible;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Self::Error> {
        Ok(Self(T::take(given)))
    }
}

/// Makes values of arguments, each under its own name; raises for the first that is none.
macro_rules! given {
    ($($name:ident),+) => {
        $(let $name = $crate::given::Named::named($name, stringify!($name))?;)+
    };
}
pub(crate) use given;

/// What `given!` does to one argument.
pub(crate) trait Named {
    type Value;

    fn named(self, name: &str) -> Result<Self::Value>;
}

impl<T> Named for Given<T> {
    type Value = T;

    fn named(self, name: &str) -> Result<T> {
        self.0.map_err(|unfit| unfit.named(name))
    }
}

/// One that may be None.
impl<T> Named for Option<Given<T>> {
    type Value = Option<T>;

    fn named(self, name: &str) -> Result<Option<T>> {
        self.map(|given| given.named(name)).transpose()
    }
}

/// Why something is no value for an argument; in `place`, which is empty or begins with a comma.
pub(crate) enum Unfit {
    Type { place: String, detail: String },
    Value { place: String, error: Error },
    Raised(PyErr),
}

impl Unfit {
    fn of_type(wanted: &str, given: Borrowed<'_, '_, PyAny>) -> Self {
        let kind = given.get_type().name();
        let kind = kind.map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        let detail = format!("{wanted} wanted, not {kind}{}", hint(given));
        Self::Type {
            place: String::new(),
            detail,
        }
    }

    fn of_value(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Value {
            place: String::new(),
            error: Error::local(reason, detail),
        }
    }

    fn inside(self, outer: &str) -> Self {
        match self {
            Self::Type { place, detail } => Self::Type {
                place: format!(", {outer}{place}"),
                detail,
            },
            Self::Value { place, error } => Self::Value {
                place: format!(", {outer}{place}"),
                error,
            },
            Self::Raised(error) => Self::Raised(error),
        }
    }

    fn named(self, name: &str) -> Raised {
        match self {
            Self::Type { place, detail } => {
                PyTypeError::new_err(format!("argument '{name}'{place}: {detail}")).into()
            }
            Self::Value { place, mut error } => {
                error.detail = format!("argument '{name}'{place}: {}", error.detail);
                error.into()
            }
            Self::Raised(error) => error.into(),
        }
    }
}

impl From<PyErr> for Unfit {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

/// Which of its properties was meant, if bytes were wanted and a value was given that has them.
fn hint(given: Borrowed<'_, '_, PyAny>) -> &'static str {
    if given.is_instance_of::<KeyPackage>() || given.is_instance_of::<SigningKey>() {
        " (give its .public)"
    } else if given.is_instance_of::<Commit>() || given.is_instance_of::<Outgoing>() {
        " (give its .message)"
    } else {
        ""
    }
}

/// What can be given for an argument.
pub(crate) trait Take<'a, 'py>: Sized {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit>;
}

/// Bytes: `bytes` as they stand, a copy of what any other buffer of bytes holds now.
#[derive(Default)]
pub(crate) struct Bytes<'a>(Cow<'a, [u8]>);

impl Bytes<'_> {
    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0.into_owned()
    }
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<'a, 'py> Take<'a, 'py> for Bytes<'a> {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        if let Ok(bytes) = given.extract::<&'a [u8]>() {
            return Ok(Self(Cow::Borrowed(bytes)));
        }
        let buffer = PyBuffer::<u8>::get(&given).map_err(|_| Unfit::of_type("bytes", given))?;
        Ok(Self(Cow::Owned(buffer.to_vec(given.py())?)))
    }
}

/// Bytes that the core keeps, or that stand in a list.
impl<'a, 'py> Take<'a, 'py> for Vec<u8> {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        Bytes::take(given).map(Bytes::into_vec)
    }
}

macro_rules! numbers {
    ($($kind:ty),+) => {
        $(impl<'a, 'py> Take<'a, 'py> for $kind {
            fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
                given.extract().map_err(|error: PyErr| {
                    let py = given.py();
                    if error.is_instance_of::<PyOverflowError>(py) {
                        Unfit::of_value("out_of_range", format!("not from 0 to {}", <$kind>::MAX))
                    } else if error.is_instance_of::<PyTypeError>(py) {
                        Unfit::of_type("int", given)
                    } else {
                        error.into()
                    }
                })
            }
        })+
    };
}
numbers!(u8, u16, u32, u64, usize);

impl<'a, 'py> Take<'a, 'py> for bool {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        given.extract().map_err(|_| Unfit::of_type("bool", given))
    }
}

/// Text without lone surrogates.
pub(crate) struct Text<'a>(&'a str);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl<'a, 'py> Take<'a, 'py> for Text<'a> {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        if !given.is_instance_of::<PyString>() {
            return Err(Unfit::of_type("str", given));
        }
        given.extract().map(Self).map_err(|error: PyErr| {
            if error.is_instance_of::<PyUnicodeEncodeError>(given.py()) {
                Unfit::of_value("bad_text", "it has a lone surrogate")
            } else {
                error.into()
            }
        })
    }
}

impl<'a, 'py> Take<'a, 'py> for Padding {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        match &*Text::take(given)? {
            "none" => Ok(Self::None),
            "step" => Ok(Self::Step),
            "padme" => Ok(Self::Padme),
            _ => Err(Unfit::of_value("bad_padding", "not none, step or padme")),
        }
    }
}

impl<'a, 'py, C: PyClass<Frozen = True> + Sync> Take<'a, 'py> for &'a C {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        let value = given.cast::<C>();
        value.map_or_else(
            |_| Err(Unfit::of_type(C::NAME, given)),
            |value| Ok(value.get()),
        )
    }
}

impl<'a, 'py, C: PyClass> Take<'a, 'py> for Py<C> {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        let value = given.cast::<C>();
        value.map_or_else(
            |_| Err(Unfit::of_type(C::NAME, given)),
            |value| Ok(value.to_owned().unbind()),
        )
    }
}

/// Bytes are a basic credential.
impl<'a, 'py> Take<'a, 'py> for mlsrtc_core::Credential {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        if let Ok(value) = given.cast::<Credential>() {
            return Ok(value.get().0.clone());
        }
        match Vec::take(given) {
            Ok(identity) => Ok(Self::Basic(identity)),
            Err(Unfit::Type { .. }) => Err(Unfit::of_type("bytes or Credential", given)),
            Err(unfit) => Err(unfit),
        }
    }
}

/// A sequence, and neither text nor bytes, which are sequences too.
pub(crate) struct Many<T>(pub(crate) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, 'py, T> Take<'a, 'py> for Many<T>
where
    T: for<'item> Take<'item, 'py>,
{
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        let text = given.is_instance_of::<PyString>() || PyBuffer::<u8>::get(&given).is_ok();
        if text || given.cast::<PySequence>().is_err() {
            return Err(Unfit::of_type("a sequence", given));
        }
        let mut all = Vec::new();
        for (at, item) in given.try_iter()?.enumerate() {
            let value = T::take(item?.as_borrowed());
            all.push(value.map_err(|unfit| unfit.inside(&format!("item {at}")))?);
        }
        Ok(Self(all))
    }
}

impl<'a, 'py, A, B> Take<'a, 'py> for (A, B)
where
    A: for<'item> Take<'item, 'py>,
    B: for<'item> Take<'item, 'py>,
{
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        let Ok(pair) = given.cast::<PyTuple>() else {
            return Err(Unfit::of_type("a pair", given));
        };
        if pair.len() != 2 {
            return Err(Unfit::Type {
                place: String::new(),
                detail: format!("a pair wanted, not {} values", pair.len()),
            });
        }
        let (first, second) = (pair.get_item(0)?, pair.get_item(1)?);
        Ok((
            A::take(first.as_borrowed()).map_err(|unfit| unfit.inside("the first"))?,
            B::take(second.as_borrowed()).map_err(|unfit| unfit.inside("the second"))?,
        ))
    }
}

/// One key package or several.
pub(crate) struct KeyPackages(Vec<Py<KeyPackage>>);

impl KeyPackages {
    pub(crate) fn list(&self) -> Vec<&mlsrtc_core::KeyPackage> {
        self.0.iter().map(|one| &one.get().0).collect()
    }
}

impl<'a, 'py> Take<'a, 'py> for KeyPackages {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        if let Ok(one) = Py::take(given) {
            return Ok(Self(vec![one]));
        }
        match Many::take(given) {
            Ok(Many(several)) => Ok(Self(several)),
            Err(Unfit::Type { place, .. }) if place.is_empty() => {
                Err(Unfit::of_type("KeyPackage or a sequence of them", given))
            }
            Err(unfit) => Err(unfit),
        }
    }
}

/// External pre-shared keys by their identifier. An empty key is none: whoever mixes one in believes in a secret that everybody
/// has.
#[derive(Default)]
pub(crate) struct Psks(pub(crate) Vec<(Vec<u8>, mlsrtc_core::Secret)>);

impl<'a, 'py> Take<'a, 'py> for Psks {
    fn take(given: Borrowed<'a, 'py, PyAny>) -> std::result::Result<Self, Unfit> {
        let Ok(mapping) = given.cast::<PyMapping>() else {
            return Err(Unfit::of_type("a mapping", given));
        };
        let mut all = Vec::new();
        for item in mapping.items()?.try_iter()? {
            let (id, key): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
            let id = Vec::take(id.as_borrowed()).map_err(|unfit| unfit.inside("a key of it"))?;
            let key = <&Secret>::take(key.as_borrowed())
                .map_err(|unfit| unfit.inside("a value of it"))?
                .value()
                .map_err(|error| Unfit::Raised(error.into()))?;
            if key.length() == 0 {
                let empty = Unfit::of_value("bad_psk", "a pre-shared key is empty");
                return Err(empty.inside("a value of it"));
            }
            all.push((id, key));
        }
        Ok(Self(all))
    }
}

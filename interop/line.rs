//! The line protocol of `tests/interop/peers.py`, as every peer in Rust reads and writes it.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::{json, Map, Value};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A request's fields.
pub struct Fields(pub Map<String, Value>);

impl Fields {
    /// Whether the field is there and is not null.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Outcome<&str> {
        let found = self.0.get(name).and_then(Value::as_str);
        Ok(found.ok_or_else(|| format!("no field {name}"))?)
    }

    pub fn bytes(&self, name: &str) -> Outcome<Vec<u8>> {
        Ok(STANDARD.decode(self.text(name)?)?)
    }

    /// Absent if the field is not there, or is null.
    pub fn optional_bytes(&self, name: &str) -> Outcome<Option<Vec<u8>>> {
        self.has(name).then(|| self.bytes(name)).transpose()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn number(&self, name: &str) -> Outcome<u64> {
        let found = self.0.get(name).and_then(Value::as_u64);
        Ok(found.ok_or_else(|| format!("no field {name}"))?)
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }

    pub fn all_bytes(&self, name: &str) -> Outcome<Vec<Vec<u8>>> {
        self.list(name)
            .map(|item| Ok(STANDARD.decode(item.as_str().ok_or("no bytes")?)?))
            .collect()
    }

    pub fn all_numbers(&self, name: &str) -> Vec<u64> {
        self.list(name).filter_map(Value::as_u64).collect()
    }

    /// A list of objects.
    pub fn all_fields(&self, name: &str) -> Vec<Fields> {
        self.list(name)
            .filter_map(Value::as_object)
            .map(|item| Fields(item.clone()))
            .collect()
    }
}

pub fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// What the work gives, and how many nanoseconds it took. What is not the engine's, like base64, is left outside.
pub fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, u64)> {
    let began = Instant::now();
    let done = work()?;
    Ok((done, began.elapsed().as_nanos() as u64))
}

/// How long it takes to do something as often as the request says.
pub fn repeated<T>(fields: &Fields, mut work: impl FnMut() -> Outcome<T>) -> Outcome<Value> {
    let times = fields.number("times")?;
    let ((), ns) = timed(|| {
        for _ in 0..times {
            std::hint::black_box(work()?);
        }
        Ok(())
    })?;
    Ok(json!({"ns": ns}))
}

/// Answers line by line until the input ends.
pub fn serve(mut answer: impl FnMut(&Fields) -> Outcome<Value>) -> Outcome<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let fields = Fields(serde_json::from_str(&line?)?);
        let answer = answer(&fields)
            .unwrap_or_else(|error| json!({"error": format!("{error} ({error:?})")}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

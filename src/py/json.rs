//! JSON as Python's `json.dumps` writes it, with a fast path in Rust for plain values.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// The deepest nesting that the fast path writes. Deeper values go to `json.dumps`.
const MAX_DEPTH: usize = 32;

/// JSON as Python's `json.dumps` writes it, except that characters beyond ASCII are not escaped.
///
/// # Errors
/// Those of `json.dumps`: `ValueError` for NaN, `TypeError` for types that JSON does not have.
pub(super) fn json_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let mut out = Vec::with_capacity(512);
    if write(value, &mut out, MAX_DEPTH).is_some()
        && let Ok(text) = String::from_utf8(out)
    {
        return Ok(text);
    }
    // Subclasses, keys that are not `str`, integers beyond 64 bits, lone surrogates and deep nesting need `json.dumps`.
    let py = value.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "allow_nan"), false)?;
    py.import(intern!(py, "json"))?.call_method(intern!(py, "dumps"), (value,), Some(&options))?.extract()
}

/// Writes a plain value. Returns `None` for a value that needs `json.dumps`; `out` then holds a part of it.
fn write(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return serde_json::to_writer(&mut *out, text.to_str().ok()?).ok();
    }
    if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
    } else if value.is_exact_instance_of::<PyInt>() {
        serde_json::to_writer(&mut *out, &value.extract::<i64>().ok()?).ok()?;
    } else if value.is_exact_instance_of::<PyFloat>() {
        // The same digits as Python writes. JSON has neither NaN nor infinity.
        let number = value.extract::<f64>().ok().filter(|number| number.is_finite())?;
        serde_json::to_writer(&mut *out, &number).ok()?;
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        let depth = depth.checked_sub(1)?;
        out.push(b'{');
        for (index, (key, value)) in dict.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            serde_json::to_writer(&mut *out, key.cast_exact::<PyString>().ok()?.to_str().ok()?).ok()?;
            out.extend_from_slice(b": ");
            write(&value, out, depth)?;
        }
        out.push(b'}');
    } else {
        let depth = depth.checked_sub(1)?;
        let items: Vec<_> = match (value.cast_exact::<PyList>(), value.cast_exact::<PyTuple>()) {
            (Ok(list), _) => list.iter().collect(),
            (_, Ok(tuple)) => tuple.iter().collect(),
            _ => return None,
        };
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            write(item, out, depth)?;
        }
        out.push(b']');
    }
    Some(())
}

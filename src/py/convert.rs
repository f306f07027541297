//! Conversion of Python values to the core's types, with an error for each invalid value.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyBool, PyBytes, PyDict, PyFloat, PyInt, PyMappingProxy, PyString, PyTuple, PyType};

use crate::event::accept::{self, Number, Rule};
use crate::event::units::Unit;
use crate::event::usage::Usage;
use crate::money::Usd;

/// The units with their denominators and dimensions, as a mapping that cannot be changed. A test compares them with the data set they
/// come from.
pub(super) fn units(py: Python<'_>) -> PyResult<Bound<'_, PyMappingProxy>> {
    let all = PyDict::new(py);
    for unit in Unit::all() {
        all.set_item(unit.name(), (unit.per(), PyTuple::new(py, unit.dimensions().collect::<Vec<_>>())?))?;
    }
    Ok(PyMappingProxy::new(py, all.as_mapping()))
}

/// The text of a `str`; `None` for other types and for texts with lone surrogates.
#[inline]
pub(super) fn exact_text<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.cast::<PyString>().ok()?.to_str().ok()
}

/// The value cannot be used as a text.
pub(super) struct NotText;

/// The names of classes whose `str()` is their value. Objects of other classes are not converted, because their text could contain
/// anything.
const IDS: [&str; 6] = ["UUID", "ObjectId", "ULID", "KSUID", "Decimal", "Fraction"];

/// A text, and whether lone surrogates in it were replaced.
///
/// Numbers, booleans, decimals, UUIDs and other ids count as texts, and so do dates (in ISO 8601), members of an `Enum` (their value, or
/// else their name) and bytes (as UTF-8, or else in hexadecimal).
pub(super) fn text<'a>(value: &'a Bound<'_, PyAny>) -> Result<(Cow<'a, str>, bool), NotText> {
    if let Ok(string) = value.cast::<PyString>() {
        return Ok(match string.to_str() {
            Ok(text) => (text.into(), false),
            Err(_) => (string.to_string_lossy().into_owned().into(), true),
        });
    }
    converted(value).map(|text| (text.into(), false))
}

#[cold]
fn converted(value: &Bound<'_, PyAny>) -> Result<String, NotText> {
    let py = value.py();
    if value.is_instance(enum_type(py).map_err(|_| NotText)?).unwrap_or(false) {
        let own = value.getattr(intern!(py, "value")).map_err(|_| NotText)?;
        // If the value is itself a member, the name is recorded. A member can be its own value, so this must not recurse.
        if !own.is_instance(enum_type(py).map_err(|_| NotText)?).unwrap_or(true)
            && let Ok((text, _)) = text(&own)
        {
            return Ok(text.into_owned());
        }
        return value.getattr(intern!(py, "name")).and_then(|name| name.extract()).map_err(|_| NotText);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        return Ok(std::str::from_utf8(bytes).map_or_else(|_| hexadecimal(bytes), str::to_owned));
    }
    if value.is_instance_of::<PyType>() {
        return Err(NotText);
    }
    let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    let is_text = is_number || value.get_type().name().is_ok_and(|name| IDS.iter().any(|id| name == *id));
    // numpy's numbers have `__index__` or are floats. Dates are recognized by their `toordinal` method.
    let shown = if is_text || value.hasattr(intern!(py, "__index__")).unwrap_or(false) {
        value.str()
    } else if value.hasattr(intern!(py, "toordinal")).unwrap_or(false) {
        value.call_method0(intern!(py, "isoformat")).and_then(|text| Ok(text.cast_into::<PyString>()?))
    } else {
        return Err(NotText);
    };
    shown.map(|string| string.to_string_lossy().into_owned()).map_err(|_| NotText)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn enum_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static ENUM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    ENUM.import(py, "enum", "Enum")
}

/// A count of a unit from a Python value, in stored counts.
#[inline]
pub(super) fn count(value: &Bound<'_, PyAny>, unit: Unit) -> Result<u64, Rule> {
    accept::count(number(value, unit), unit)
}

/// A number from a Python value; `None` for other types and for booleans. For units with fractions, all types that Python converts to
/// `float` are numbers.
#[inline]
fn number(value: &Bound<'_, PyAny>, unit: Unit) -> Option<Number> {
    if let Ok(whole) = value.extract::<u64>() {
        return (whole > 1 || !value.is_instance_of::<PyBool>()).then_some(Number::Whole(whole));
    }
    if unit.scale() == 1 {
        return value.cast::<PyFloat>().ok().map(|real| Number::Real(real.value()));
    }
    value.extract::<f64>().ok().map(Number::Real)
}

/// Usage from a dict of unit names; `None` if the value is not a dict or a key is not a unit. The error names the first invalid count.
pub(super) fn usage(given: &Bound<'_, PyAny>) -> PyResult<Option<Usage>> {
    let Ok(dict) = given.cast::<PyDict>() else { return Ok(None) };
    let mut usage = Usage::default();
    for (key, value) in dict {
        let Some(unit) = exact_text(&key).and_then(Unit::from_name) else { return Ok(None) };
        if !value.is_none() {
            usage.set(unit, count(&value, unit).map_err(|rule| usage_error(unit.name(), rule))?);
        }
    }
    Ok(Some(usage))
}

/// The exception for invalid usage: names the field and the rule.
pub(super) fn usage_error(field: &str, rule: impl Display) -> PyErr {
    super::errors::UsageError::new_err(format!("{field} {rule}"))
}

/// The value itself if it is a dict, or a dict with the items of another mapping.
pub(super) fn as_dict<'py>(value: &Bound<'py, PyAny>, field: &str) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = value.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    let mapping = value
        .cast::<pyo3::types::PyMapping>()
        .map_err(|_| PyValueError::new_err(format!("{field} must be a mapping")))?;
    PyDict::from_sequence(mapping.items()?.as_any())
}

fn decimal_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DECIMAL.import(py, "decimal", "Decimal")
}

/// An amount as `Decimal`.
pub(super) fn decimal(py: Python<'_>, amount: Usd) -> PyResult<Bound<'_, PyAny>> {
    decimal_type(py)?.call1((amount.to_string(),))
}

/// An amount from a `Decimal`, a `str` or a number.
pub(super) fn amount(value: &Bound<'_, PyAny>) -> Result<Usd, Rule> {
    let digits = || {
        let text = value.str().ok()?;
        if text.len().ok()? > accept::LONGEST_COST {
            return None;
        }
        let number = decimal_type(value.py()).ok()?.call1((text,)).ok()?;
        let exponent = number.call_method0("adjusted").and_then(|adjusted| adjusted.extract::<i64>()).ok()?;
        if !accept::can_be_cost(exponent) {
            return None;
        }
        number.call_method1("__format__", ("f",)).ok()?.extract::<String>().ok()
    };
    accept::cost(&digits().ok_or(Rule::Cost)?)
}

/// The start of a call in nanoseconds since the Unix epoch. See [`unix_seconds`].
pub(super) fn call_start(value: &Bound<'_, PyAny>) -> Result<u64, Rule> {
    accept::time(unix_seconds(value)?, crate::sys::clock::unix_ns())
}

/// The time whose prices are requested, in nanoseconds since the Unix epoch. See [`unix_seconds`].
pub(super) fn price_time(value: &Bound<'_, PyAny>) -> Result<u64, Rule> {
    accept::price_time(unix_seconds(value)?)
}

/// Converts a number of seconds, an aware `datetime`, a `date` (its midnight in UTC) or the ISO 8601 text of one to seconds since the
/// Unix epoch. A text without a time zone is in UTC.
fn unix_seconds(value: &Bound<'_, PyAny>) -> Result<f64, Rule> {
    if let Ok(text) = value.cast::<PyString>() {
        return unix_seconds(&parsed_time(text).map_err(|_| Rule::Time)?);
    }
    if let Ok(number) = value.extract::<f64>() {
        return Ok(number);
    }
    if let Ok(offset) = value.call_method0("utcoffset") {
        if offset.is_none() {
            return Err(Rule::TimeZone);
        }
        return value.call_method0("timestamp").and_then(|seconds| seconds.extract()).map_err(|_| Rule::Time);
    }
    // Python's ordinal of 1970-01-01 is 719,163.
    let day: i64 = value.call_method0("toordinal").and_then(|day| day.extract()).map_err(|_| Rule::Time)?;
    Ok((day - 719_163) as f64 * 86_400.0)
}

/// An aware `datetime` from an ISO 8601 text.
fn parsed_time<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    static DATETIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static UTC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = text.py();
    // Python 3.10 does not parse a `Z`.
    let text = text.to_str()?.trim().replace(['Z', 'z'], "+00:00");
    let time = DATETIME.import(py, "datetime", "datetime")?.call_method1("fromisoformat", (text,))?;
    if !time.call_method0("utcoffset")?.is_none() {
        return Ok(time);
    }
    let utc = UTC
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("datetime")?.getattr("timezone")?.getattr("utc")?.unbind()))?;
    time.call_method("replace", (), Some(&[("tzinfo", utc)].into_py_dict(py)?))
}

/// A duration in microseconds, from a number of milliseconds.
pub(super) fn milliseconds(value: &Bound<'_, PyAny>) -> Result<u64, Rule> {
    accept::duration(value.extract::<f64>().map_err(|_| Rule::Duration)?)
}

/// A duration from a number of seconds. An invalid value raises an exception.
pub(super) fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("{name} must be a number of seconds, 0 or more")))
}

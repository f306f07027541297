//! From Python values to the core's, and what is said when a value is none.

use std::borrow::Cow;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};

use crate::event::units::Unit;
use crate::event::usage::{MAX_COUNT, Usage};
use crate::money::Usd;

/// The units with their denominators and dimensions, for comparison with the data set they come from.
pub(super) fn units(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let all = PyDict::new(py);
    for unit in Unit::all() {
        all.set_item(unit.name(), (unit.per(), unit.dimensions().collect::<Vec<_>>()))?;
    }
    Ok(all)
}

/// A text of valid Unicode, as it stands.
#[inline]
pub(super) fn exact_text<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.cast::<PyString>().ok()?.to_str().ok()
}

/// Why a value is no text.
pub(super) struct NotText;

/// A text. Numbers, booleans and UUIDs count as texts; lone surrogates are replaced, which the second value tells.
pub(super) fn text<'a>(value: &'a Bound<'_, PyAny>) -> Result<(Cow<'a, str>, bool), NotText> {
    if let Ok(string) = value.cast::<PyString>() {
        return Ok(match string.to_str() {
            Ok(text) => (text.into(), false),
            Err(_) => (string.to_string_lossy().into_owned().into(), true),
        });
    }
    let is_scalar = value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.get_type().name().is_ok_and(|name| name == "UUID");
    if !is_scalar {
        return Err(NotText);
    }
    match value.str() {
        Ok(string) => Ok((string.to_string_lossy().into_owned().into(), false)),
        Err(_) => Err(NotText),
    }
}

/// A count of a unit, in stored counts. `Err` is the rule that was broken.
pub(super) fn count(value: &Bound<'_, PyAny>, unit: Unit) -> Result<u64, &'static str> {
    const RULE: &str = "must be a whole number from 0 to 1,000,000,000,000";
    const SECONDS_RULE: &str = "must be a number of seconds from 0 to 1,000,000";
    let scale = unit.scale();
    if scale == 1 {
        if let Ok(count) = value.extract::<u64>() {
            let is_count = count <= MAX_COUNT && (count > 1 || !value.is_instance_of::<PyBool>());
            return if is_count { Ok(count) } else { Err(RULE) };
        }
        let number = value.cast::<PyFloat>().map_err(|_| RULE)?.value();
        let is_count = number.fract() == 0.0 && (0.0..=MAX_COUNT as f64).contains(&number);
        return if is_count { Ok(number as u64) } else { Err(RULE) };
    }
    if value.is_instance_of::<PyBool>() {
        return Err(SECONDS_RULE);
    }
    let number = value.extract::<f64>().map_err(|_| SECONDS_RULE)? * scale as f64;
    if (0.0..=MAX_COUNT as f64).contains(&number) { Ok(number.round() as u64) } else { Err(SECONDS_RULE) }
}

/// Usage from a dict of unit names, or the first field that breaks a rule; `None` when it is no dict, or has another key.
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

/// The exception for bad usage: the field and the rule.
pub(super) fn usage_error(field: &str, rule: &str) -> PyErr {
    super::errors::UsageError::new_err(format!("{field} {rule}"))
}

/// A dict, or another mapping as one.
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

/// An amount from a `Decimal`, a text or a number; `None` when it is negative, 10^10 or more, or no
/// decimal of at most 24 places.
pub(super) fn amount(value: &Bound<'_, PyAny>) -> Option<Usd> {
    const LONGEST: usize = 100;
    const LARGEST: i64 = 9;
    let text = value.str().ok()?;
    if text.len().ok()? > LONGEST {
        return None;
    }
    // An exponent is looked at before it is written out in digits: 1e999999999 has a billion of them.
    let number = decimal_type(value.py()).ok()?.call1((text,)).ok()?;
    let magnitude = number.call_method0("adjusted").and_then(|adjusted| adjusted.extract::<i64>()).ok()?;
    if magnitude > LARGEST || magnitude < -i64::from(crate::money::SCALE) {
        return None;
    }
    let plain = number.call_method1("__format__", ("f",)).ok()?;
    let amount: Usd = plain.extract::<String>().ok()?.parse().ok()?;
    (amount >= Usd::ZERO).then_some(amount)
}

/// Nanoseconds of the Unix epoch from an aware `datetime` or a number of seconds; `Err` is the rule that was broken.
pub(super) fn unix_ns(value: &Bound<'_, PyAny>) -> Result<u64, &'static str> {
    const RULE: &str = "must be an aware datetime, or seconds since 1970";
    const RANGE_RULE: &str = "must lie between 2015 and a day from now";
    const YEAR_2015: f64 = 1_420_070_400.0;
    const DAY: f64 = 86_400.0;
    let seconds = if let Ok(number) = value.extract::<f64>() {
        number
    } else {
        if value.call_method0("utcoffset").map_err(|_| RULE)?.is_none() {
            return Err("must have a time zone");
        }
        value.call_method0("timestamp").and_then(|seconds| seconds.extract::<f64>()).map_err(|_| RULE)?
    };
    let now = crate::sys::clock::unix_ns() as f64 / 1e9;
    if !(YEAR_2015..=now + DAY).contains(&seconds) {
        return Err(RANGE_RULE);
    }
    // Microseconds are what a datetime has, and what a float of this size can tell apart.
    Ok((seconds * 1e6).round() as u64 * 1000)
}

/// A duration from milliseconds to microseconds.
pub(super) fn milliseconds(value: &Bound<'_, PyAny>) -> Option<u64> {
    const MOST: f64 = 1e12;
    let number = value.extract::<f64>().ok()?;
    (0.0..=MOST).contains(&number).then(|| (number * 1000.0).round() as u64)
}

/// A duration that has to be given right.
pub(super) fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("{name} must be a number of seconds, 0 or more")))
}

//! Services with a wire of their own: how they are addressed, and requests for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::errors::ConfigError;
use super::meter::{PyMeter, seconds};
use super::track::PyReceipt;
use crate::delivery::{RemoteSettings, ResponseLog, Service};
use crate::event::Outgoing;
use crate::http::{Address, find_cloud_now};
use crate::meter::{Count, Receipt};
use crate::protocol::{CloudEndpoints, LimitOverrides, Options, destination_schemes, format_named, format_of_service};

/// How deep a body may be nested that is written here; a deeper one is Python's.
const DEEPEST: usize = 32;

/// A destination over HTTP.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct RemoteArguments {
    url: String,
    headers: Vec<(String, String)>,
    /// Whether clear text is allowed to another machine.
    allow_http: bool,
    /// Seconds that a request may take.
    timeout: f64,
    /// Certificates in PEM.
    ca: Option<Vec<u8>>,
    /// The name of its format.
    protocol: String,
    limits: LimitArguments,
    /// Of a service; `None` for a destination that a URL names.
    wire: Option<WireArguments>,
}

/// Limits in place of the format's own.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct LimitArguments {
    max_events: Option<f64>,
    max_bytes: Option<f64>,
    /// Seconds.
    linger: Option<f64>,
    concurrency: Option<f64>,
}

/// A wire of a service.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct WireArguments {
    service: String,
    account: String,
    former: Vec<String>,
    keeps_answers: bool,
    /// Of Token Trackr.
    batches: Option<BatchArguments>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct BatchArguments {
    size: usize,
    /// Seconds that events wait for company.
    interval: f64,
    attempts: u32,
    fallback: Option<PathBuf>,
    /// Base URLs where Amazon, Microsoft and Google are asked.
    cloud: Option<(String, String, String)>,
}

impl TryFrom<RemoteArguments> for RemoteSettings {
    type Error = PyErr;

    fn try_from(given: RemoteArguments) -> PyResult<Self> {
        let timeout = seconds("timeout", given.timeout)?;
        let mut address = Address::new(&given.url, &given.headers, given.allow_http)?.with_timeout(timeout);
        if let Some(pem) = given.ca {
            address = address.with_ca(pem)?;
        }
        let Some(wire) = given.wire else {
            let limits = given.limits.to_core()?;
            let format = format_named(&given.protocol)
                .ok_or_else(|| ConfigError::new_err("destination: protocol: no such protocol is known"))?;
            return Ok(Self { address, format, options: Options::default(), limits, service: None, answers: None });
        };
        let (mut options, mut limits) = (Options::default(), LimitOverrides::default());
        if let Some(batches) = wire.batches {
            options.spill_dir = batches.fallback;
            options.cloud = batches.cloud.map(endpoints);
            limits.max_events = Some(batches.size);
            limits.linger = Some(seconds("interval", batches.interval)?);
            limits.attempts = Some(batches.attempts);
        }
        Ok(Self {
            address,
            format: format_of_service(&wire.service),
            options,
            limits,
            service: Some(Service { name: wire.service, account: wire.account, former: wire.former }),
            answers: wire.keeps_answers.then(ResponseLog::default),
        })
    }
}

impl LimitArguments {
    fn to_core(&self) -> PyResult<LimitOverrides> {
        Ok(LimitOverrides::new(self.max_events, self.max_bytes, self.linger, self.concurrency)?)
    }
}

/// The schemes of URLs that name a destination.
#[pyfunction]
#[pyo3(name = "destination_schemes")]
pub(super) fn schemes() -> Vec<String> {
    destination_schemes()
}

/// Checks a destination as `configure` does.
#[pyfunction]
pub(super) fn check_destination(destination: RemoteArguments) -> PyResult<()> {
    RemoteSettings::try_from(destination).map(drop)
}

fn endpoints((aws, azure, gcp): (String, String, String)) -> CloudEndpoints {
    CloudEndpoints { aws, azure, gcp }
}

/// The cloud that this machine is in, asked of these base URLs: its name and that of the machine. Takes a second at most.
#[pyfunction]
pub(super) fn cloud(py: Python<'_>, aws: String, azure: String, gcp: String) -> (&'static str, Option<String>) {
    let found = py.detach(|| find_cloud_now(&endpoints((aws, azure, gcp))));
    (found.cloud_provider, found.instance_id)
}

/// Records a request, or answers why not. Raises only for a body that is no JSON.
pub(super) fn post(
    meter: &PyMeter,
    py: Python<'_>,
    path: &str,
    body: &Bound<'_, PyAny>,
    before: Option<(String, Bound<'_, PyAny>)>,
) -> PyResult<PyReceipt> {
    if !meter.is_enabled() {
        return Ok(PyReceipt(Err("disabled")));
    }
    // See `track`.
    let outcome = catch_unwind(AssertUnwindSafe(|| record(meter, path, body, before)));
    let outcome = outcome.unwrap_or_else(|_| {
        meter.core.count(Count::InternalError, 1);
        Ok(Err(Count::InternalError))
    })?;
    if let Some(what) = outcome.as_ref().map_or_else(|what| Some(*what), |receipt| receipt.remark) {
        meter.warn(py, what, path);
    }
    if outcome.as_ref().is_ok_and(|receipt| receipt.has_notices) {
        meter.tell_notices(py);
    }
    Ok(PyReceipt(outcome.map_err(Count::name)))
}

fn record(
    meter: &PyMeter,
    path: &str,
    body: &Bound<'_, PyAny>,
    before: Option<(String, Bound<'_, PyAny>)>,
) -> PyResult<Result<Receipt, Count>> {
    let before = before.map(|(path, body)| Ok::<_, PyErr>((path, json_text(&body)?))).transpose()?;
    let body = json_text(body)?;
    let mut requests = Vec::with_capacity(2);
    requests.extend(before.as_ref().map(|(path, body)| Outgoing { path, body }));
    requests.push(Outgoing { path, body: &body });
    Ok(meter.core.post(requests))
}

/// JSON as Python's `json.dumps` has it, but for characters beyond ASCII, which stand for themselves.
///
/// # Errors
/// Those of `json.dumps`: `ValueError` for NaN, `TypeError` for what JSON does not have.
fn json_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let mut out = Vec::with_capacity(512);
    if write(value, &mut out, DEEPEST).is_some()
        && let Ok(text) = String::from_utf8(out)
    {
        return Ok(text);
    }
    // Classes of the user's own, keys that are no texts, numbers beyond 64 bits, lone surrogates.
    let py = value.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "allow_nan"), false)?;
    py.import(intern!(py, "json"))?.call_method(intern!(py, "dumps"), (value,), Some(&options))?.extract()
}

/// Writes what has one plain form; `None` when it has not.
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
        // As Python writes it; JSON has neither NaN nor infinity.
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

//! The Python binding of the scanner of provider responses.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::convert::{decimal, usage_error};
use super::meter::PyMeter;
use super::response::{Call, record};
use super::scope::PyScope;
use super::ticket::{PyRefusal, PyTicket};
use crate::capture::{Dialect, Family, Framing, Gap, Guard, Options, Summary, normalize, read_report};
use crate::event::Usage;
use crate::event::accept::Rule;
use crate::meter::Issue;
use crate::pricing::canonical_provider;

#[doc = stub_doc!("Scanner")]
#[pyclass(frozen, name = "Scanner", module = "taximeter._core")]
pub(super) struct PyScanner {
    guard: Mutex<Guard>,
    is_gzip: bool,
    made: Instant,
}

/// From this many bytes on, scanning takes longer than releasing and reacquiring the GIL.
const DETACH_FROM: usize = 64 << 10;

impl PyScanner {
    /// Runs `work` on the scanner. The scanner's lock is held only during the work, never while waiting for the GIL.
    fn with<T: Send>(&self, py: Python<'_>, is_long: bool, work: impl FnOnce(&mut Guard) -> T + Send) -> T {
        let work = || work(&mut self.guard.lock().unwrap_or_else(PoisonError::into_inner));
        if is_long { py.detach(work) } else { work() }
    }

    /// Ends the scan. `None` if it had already ended.
    fn end(&self, py: Python<'_>) -> Option<Summary> {
        let is_long = self.with(py, false, |guard| guard.held()) >= DETACH_FROM;
        self.with(py, is_long, Guard::finish)
    }

    /// Milliseconds from the creation of the scanner to the first part of the answer.
    fn first_token_ms(&self, found: &Summary) -> Option<f64> {
        found.first_token.map(|at| at.saturating_duration_since(self.made).as_secs_f64() * 1000.0)
    }

    /// What was found, as a dict.
    fn summary<'py>(&self, py: Python<'py>, found: Summary) -> PyResult<Bound<'py, PyDict>> {
        let first = self.first_token_ms(&found);
        let summary = PyDict::new(py);
        summary.set_item(intern!(py, "model"), found.model)?;
        summary.set_item(intern!(py, "usage"), usage_dict(py, &found.usage)?)?;
        if !found.parts.is_empty() {
            let parts = found.parts.iter().map(|part| Ok((part.model.as_str(), usage_dict(py, &part.usage)?)));
            summary.set_item(intern!(py, "parts"), parts.collect::<PyResult<Vec<_>>>()?)?;
        }
        summary.set_item(intern!(py, "provider_usage"), found.report)?;
        let gap = found.gap.map(|gap| match gap {
            Gap::Unreported => Issue::UsageUnreported,
            Gap::Interrupted => Issue::UsageInterrupted,
            Gap::Foreign => Issue::UsageNotJson,
            Gap::Malformed => Issue::UsageMalformed,
            Gap::InternalError => Issue::UsageInternalError,
        });
        summary.set_item(intern!(py, "gap"), gap.map(Issue::name))?;
        summary.set_item(intern!(py, "cost_usd"), found.cost.map(|cost| decimal(py, cost)).transpose()?)?;
        summary.set_item(intern!(py, "unreadable"), found.unreadable)?;
        summary.set_item(intern!(py, "usage_status"), found.usage_status.name())?;
        summary.set_item(intern!(py, "finish_reason"), found.finish_reason)?;
        summary.set_item(intern!(py, "service_tier"), found.service_tier)?;
        summary.set_item(intern!(py, "region"), found.region)?;
        if !found.notes.is_empty() {
            summary.set_item(intern!(py, "cost_notes"), found.notes.names().collect::<Vec<_>>().join(","))?;
        }
        summary.set_item(intern!(py, "is_error"), found.is_error)?;
        summary.set_item(intern!(py, "error"), found.error)?;
        summary.set_item(intern!(py, "id"), found.id)?;
        summary.set_item(intern!(py, "is_background"), found.is_background)?;
        summary.set_item(intern!(py, "first_token_ms"), first)?;
        Ok(summary)
    }
}

fn usage_dict<'py>(py: Python<'py>, usage: &Usage) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (unit, count) in usage.iter() {
        match unit.scale() {
            1 => dict.set_item(unit.name(), count)?,
            scale => dict.set_item(unit.name(), count as f64 / scale as f64)?,
        }
    }
    Ok(dict)
}

#[pymethods]
impl PyScanner {
    #[new]
    #[pyo3(signature = (family, *, provider, content_type, gzip=false, strip=false, keep=false, data=None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known of a response before it is read, and a response that was read"
    )]
    fn new(
        py: Python<'_>,
        family: &str,
        provider: &str,
        content_type: &str,
        gzip: bool,
        strip: bool,
        keep: bool,
        data: Option<&[u8]>,
    ) -> PyResult<Self> {
        let family = Family::from_name(family)
            .ok_or_else(|| PyValueError::new_err(format!("family: unknown name {family:?}")))?;
        let framing = Framing::of_content_type(content_type);
        let dialect = Dialect::of(&canonical_provider(provider));
        let options = Options { family, dialect, framing, is_gzip: gzip, strips_usage: strip, keeps_report: keep };
        let scanner = Self { guard: Mutex::new(Guard::new(options)), is_gzip: gzip, made: Instant::now() };
        if let Some(data) = data {
            scanner.with(py, data.len() >= DETACH_FROM, |guard| guard.feed(data));
        }
        Ok(scanner)
    }

    #[doc = stub_doc!("Scanner.feed")]
    fn feed<'py>(&self, py: Python<'py>, data: &[u8]) -> Option<Bound<'py, PyBytes>> {
        let is_long = data.len() >= if self.is_gzip { DETACH_FROM / 8 } else { DETACH_FROM };
        self.with(py, is_long, |guard| guard.feed(data)).map(|bytes| PyBytes::new(py, &bytes))
    }

    #[doc = stub_doc!("Scanner.count_output")]
    fn count_output(&self, py: Python<'_>) {
        self.with(py, false, Guard::count_output);
    }

    #[doc = stub_doc!("Scanner.over")]
    fn over(&self, py: Python<'_>, ticket: &Bound<'_, PyTicket>) -> Option<PyRefusal> {
        let (input, output) = self.with(py, false, Guard::running)?;
        let admission = &ticket.get().admission;
        py.detach(|| admission.over(input, output)).map(PyRefusal::of_stream)
    }

    #[doc = stub_doc!("Scanner.rest")]
    fn rest<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.with(py, false, Guard::finish_bytes).map(|bytes| PyBytes::new(py, &bytes))
    }

    #[doc = stub_doc!("Scanner.finish")]
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.end(py).map(|found| self.summary(py, found)).transpose()
    }

    #[doc = stub_doc!("Scanner.record")]
    #[pyo3(signature = (meter, fields, ids, scope, started_at, latency_ms, made_ms, ticket=None))]
    #[expect(clippy::too_many_arguments, reason = "what is known of a call beside its response")]
    fn record<'py>(
        &self,
        py: Python<'py>,
        meter: &Bound<'py, PyMeter>,
        fields: &Bound<'py, PyDict>,
        ids: &Bound<'py, PyDict>,
        scope: Option<&Bound<'py, PyScope>>,
        started_at: Option<f64>,
        latency_ms: Option<f64>,
        made_ms: Option<f64>,
        ticket: Option<&Bound<'py, PyTicket>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(found) = self.end(py) else { return Ok(None) };
        let ttft_ms = made_ms.and_then(|made| Some(made + self.first_token_ms(&found)?));
        let admission = ticket.map(|ticket| &ticket.get().admission);
        let call = Call { fields, ids, scope, started_at, latency_ms, ttft_ms, admission };
        if record(py, meter.get(), &found, &call) {
            return Ok(None);
        }
        self.summary(py, found).map(Some)
    }
}

#[doc = stub_doc!("header_values")]
#[pyfunction]
pub(super) fn header_values(raw: &Bound<'_, PyAny>) -> PyResult<(String, String, String)> {
    let (mut content_type, mut encoding, mut tier) = (String::new(), String::new(), String::new());
    for header in raw.try_iter()? {
        let (name, value) = header?.extract::<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>()?;
        // Latin-1, as HTTP libraries decode values.
        let text = || value.as_bytes().iter().copied().map(char::from).collect::<String>();
        match name.as_bytes() {
            name if name.eq_ignore_ascii_case(b"content-type") => content_type = text(),
            name if name.eq_ignore_ascii_case(b"content-encoding") => {
                encoding = if encoding.is_empty() { text() } else { format!("{encoding}, {}", text()) };
            }
            name if name.eq_ignore_ascii_case(b"x-gemini-service-tier") => tier = text(),
            _ => {}
        }
    }
    Ok((content_type, encoding.trim().to_lowercase(), tier.to_lowercase()))
}

type UsageAndCost<'py> = (Bound<'py, PyDict>, Option<Bound<'py, PyAny>>);

#[doc = stub_doc!("normalize_usage")]
#[pyfunction]
#[pyo3(signature = (report, family=None, provider=None))]
pub(super) fn normalize_usage<'py>(
    py: Python<'py>,
    report: &str,
    family: Option<&str>,
    provider: Option<&str>,
) -> PyResult<Option<UsageAndCost<'py>>> {
    let Some(report) = read_report(report) else { return Ok(None) };
    let dialect = provider.map_or(Dialect::Plain, |name| Dialect::of(&canonical_provider(name)));
    let Some(found) = normalize(&report, family.and_then(Family::from_name), dialect) else { return Ok(None) };
    if let Some(field) = found.unreadable {
        return Err(usage_error(field, Rule::Count));
    }
    let cost = found.cost.map(|cost| decimal(py, cost)).transpose()?;
    Ok(Some((usage_dict(py, &found.usage)?, cost)))
}

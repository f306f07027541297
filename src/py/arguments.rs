//! The arguments of `track()`, by name.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The arguments of `track()`. Those of plain calls come first.
#[rustfmt::skip]
pub(super) const NAMES: [&str; 33] = [
    "provider", "model", "input_tokens", "output_tokens", "tags", "agent", "feature", "team", "customer", "user", "session",
    "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "usage", "operation", "latency_ms", "ttft_ms", "status",
    "error", "finish_reason", "service_tier", "region", "batch", "cost_usd", "started_at", "trace_id", "span_id",
    "parent_span_id", "call_id", "usage_status", "provider_usage", "cost_notes",
];
/// How many of them a plain call may have.
pub(super) const PLAIN: usize = 11;

/// An argument; `None` if it was not given.
pub(super) type Arg<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// All arguments of `track()`.
pub(super) struct Arguments<'a, 'py> {
    pub(super) provider: Arg<'a, 'py>,
    pub(super) model: Arg<'a, 'py>,
    pub(super) input_tokens: Arg<'a, 'py>,
    pub(super) output_tokens: Arg<'a, 'py>,
    pub(super) attribution: [Arg<'a, 'py>; 6],
    pub(super) tags: Arg<'a, 'py>,
    /// Arguments that few calls have; `None` if none of them was given.
    pub(super) rare: Option<Rare<'a, 'py>>,
}

/// Arguments that few calls have.
pub(super) struct Rare<'a, 'py> {
    pub(super) cache_read_tokens: Arg<'a, 'py>,
    pub(super) cache_write_tokens: Arg<'a, 'py>,
    pub(super) reasoning_tokens: Arg<'a, 'py>,
    pub(super) usage: Arg<'a, 'py>,
    pub(super) operation: Arg<'a, 'py>,
    pub(super) latency_ms: Arg<'a, 'py>,
    pub(super) ttft_ms: Arg<'a, 'py>,
    pub(super) status: Arg<'a, 'py>,
    pub(super) error: Arg<'a, 'py>,
    pub(super) finish_reason: Arg<'a, 'py>,
    pub(super) service_tier: Arg<'a, 'py>,
    pub(super) region: Arg<'a, 'py>,
    pub(super) batch: Arg<'a, 'py>,
    pub(super) cost_usd: Arg<'a, 'py>,
    pub(super) started_at: Arg<'a, 'py>,
    pub(super) trace_id: Arg<'a, 'py>,
    pub(super) span_id: Arg<'a, 'py>,
    pub(super) parent_span_id: Arg<'a, 'py>,
    pub(super) call_id: Arg<'a, 'py>,
    pub(super) usage_status: Arg<'a, 'py>,
    pub(super) provider_usage: Arg<'a, 'py>,
    pub(super) cost_notes: Arg<'a, 'py>,
}

/// Raises the error for arguments that no event has, as the Python functions that take fields of an event do.
#[cold]
pub(super) fn reject_unknown(unknown: &Bound<'_, PyDict>) -> PyResult<()> {
    let fields = unknown.py().import("taximeter.fields")?;
    fields.call_method1("check_names", ("track", unknown, fields.getattr("TRACK")?))?;
    Err(PyTypeError::new_err(format!("track(): unknown arguments {:?}", unknown.keys())))
}

impl Rare<'_, '_> {
    /// Whether any of them was given.
    pub(super) fn is_any_given(&self) -> bool {
        [
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
            self.usage,
            self.operation,
            self.latency_ms,
            self.ttft_ms,
            self.status,
            self.error,
            self.finish_reason,
            self.service_tier,
            self.region,
            self.batch,
            self.cost_usd,
            self.started_at,
            self.trace_id,
            self.span_id,
            self.parent_span_id,
            self.call_id,
            self.usage_status,
            self.provider_usage,
            self.cost_notes,
        ]
        .iter()
        .any(Option::is_some)
    }
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// From the values in the order of [`NAMES`].
    pub(super) fn from_slots(all: &[Arg<'a, 'py>; NAMES.len()]) -> Self {
        #[rustfmt::skip]
        let [
            provider, model, input_tokens, output_tokens, tags, attribution @ ..,
            cache_read_tokens, cache_write_tokens, reasoning_tokens, usage, operation, latency_ms, ttft_ms, status,
            error, finish_reason, service_tier, region, batch, cost_usd, started_at, trace_id, span_id,
            parent_span_id, call_id, usage_status, provider_usage, cost_notes,
        ] = *all;
        #[rustfmt::skip]
        let rare = Rare {
            cache_read_tokens, cache_write_tokens, reasoning_tokens, usage, operation, latency_ms, ttft_ms, status,
            error, finish_reason, service_tier, region, batch, cost_usd, started_at, trace_id, span_id,
            parent_span_id, call_id, usage_status, provider_usage, cost_notes,
        };
        let rare = rare.is_any_given().then_some(rare);
        Self { provider, model, input_tokens, output_tokens, attribution, tags, rare }
    }
}

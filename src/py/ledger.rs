//! The Python binding of the ledger's reader.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use smallvec::SmallVec;

use super::convert::decimal;
use crate::ledger::{
    Condition, Dimension, Duration, Durations, Filter, Format, LedgerError, Measure, Op, Order, Page, Reader,
    ReportPage, Sum, Totals, Watch,
};
use crate::money::Usd;
use crate::sys::fork::fork_generation;

#[doc = stub_doc!("LedgerReader")]
#[pyclass(frozen, name = "LedgerReader", module = "taximeter._core")]
pub(super) struct PyLedger {
    /// The fork generation that created the reader. In another one, the mutex may be locked by a thread that does not exist there.
    generation: u64,
    reader: Mutex<Reader>,
    /// Seconds that one question may take.
    timeout: Mutex<Option<f64>>,
    /// What can stop the question that is being answered.
    running: Mutex<Option<Arc<Watch>>>,
}

/// A condition: the field, the sign of the comparison and the values.
pub(super) type Where = Vec<(String, String, Vec<Option<String>>)>;

pub(super) fn filter(since: Option<u64>, until: Option<u64>, conditions: Where) -> Result<Filter, LedgerError> {
    let condition = |(field, sign, values): (String, String, Vec<Option<String>>)| {
        let op = Op::from_sign(&sign).ok_or_else(|| LedgerError::Query(format!("{sign:?} is not a comparison")));
        match op.and_then(|op| Condition::new(&field, op, values)) {
            Err(LedgerError::Query(rule)) => Err(LedgerError::Query(format!("where: {rule}"))),
            answer => answer,
        }
    };
    Ok(Filter { since, until, conditions: conditions.into_iter().map(condition).collect::<Result<_, _>>()? })
}

/// The values of the fields, the calls, the percentiles, and the calls by bucket.
type DurationsRow = (Vec<Option<String>>, u64, Vec<f64>, Vec<(f64, u64)>);

/// The fields with these names. `parts` has the parts of time by their name.
fn dimensions(by: &[String], mut parts: HashMap<String, Vec<u64>>) -> Result<Vec<Dimension>, LedgerError> {
    let dimension = |name: &String| match (parts.remove(name), Dimension::parse(name)) {
        (Some(edges), _) => Ok(Dimension::Time(edges)),
        (None, Err(LedgerError::Query(rule))) => Err(LedgerError::Query(format!("by: {rule}"))),
        (None, parsed) => parsed,
    };
    by.iter().map(dimension).collect()
}

fn own<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values of a group's fields, and its sums.
type PyRow<'py> = (Bound<'py, PyTuple>, Bound<'py, PyTuple>);

/// The rows of a report, the sums of the other groups and of all, and the number of groups.
pub(super) type PyReport<'py> = (Vec<PyRow<'py>>, Bound<'py, PyTuple>, Bound<'py, PyTuple>, usize);

/// Makes the tuples of sums, in the order of `taximeter.Row`.
struct SumsTuple<'py> {
    py: Python<'py>,
    /// Most amounts of what caching saved are 0.
    zero: Bound<'py, PyAny>,
}

impl<'py> SumsTuple<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        Ok(Self { py, zero: decimal(py, Usd::ZERO)? })
    }

    fn amount(&self, amount: Usd) -> PyResult<Bound<'py, PyAny>> {
        if amount == Usd::ZERO { Ok(self.zero.clone()) } else { decimal(self.py, amount) }
    }

    fn of(&self, totals: &Totals) -> PyResult<Bound<'py, PyTuple>> {
        let cost = (self.amount(totals.cost)?, self.amount(totals.cache_saved)?);
        (
            totals.calls,
            totals.errors,
            totals.unpriced,
            totals.input_tokens,
            totals.output_tokens,
            totals.cache_read_tokens,
            totals.cache_write_tokens,
            totals.reasoning_tokens,
            cost.0,
            cost.1,
        )
            .into_pyobject(self.py)
    }
}

/// The page of a report as Python has it.
pub(super) fn py_report(py: Python<'_>, page: ReportPage) -> PyResult<PyReport<'_>> {
    let sums = SumsTuple::new(py)?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for (values, totals) in page.rows {
        let values = values.into_iter().map(|value| (!value.is_empty()).then_some(value));
        rows.push((PyTuple::new(py, values.collect::<SmallVec<[_; 4]>>())?, sums.of(&totals)?));
    }
    Ok((rows, sums.of(&page.others)?, sums.of(&page.total)?, page.groups))
}

impl PyLedger {
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Reader) -> Result<R, LedgerError> + Send,
    ) -> PyResult<R> {
        if self.generation != fork_generation() {
            return Err(LedgerError::Forked.into());
        }
        Ok(py.detach(|| {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            let watch = Arc::new(Watch::within(*own(&self.timeout)));
            *own(&self.running) = Some(Arc::clone(&watch));
            reader.watch(Arc::clone(&watch));
            let answer = work(&mut reader);
            reader.close_idle();
            *own(&self.running) = None;
            answer.map_err(|error| watch.explained(error))
        })?)
    }
}

#[pymethods]
#[expect(clippy::too_many_arguments, reason = "the parts of a selection are arguments")]
impl PyLedger {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let reader = py.detach(|| {
            let mut reader = Reader::open(&path)?;
            reader.close_idle();
            Ok::<_, LedgerError>(reader)
        })?;
        Ok(Self {
            generation: fork_generation(),
            reader: Mutex::new(reader),
            timeout: Mutex::new(None),
            running: Mutex::new(None),
        })
    }

    #[doc = stub_doc!("LedgerReader.limit")]
    #[pyo3(signature = (seconds))]
    fn limit(&self, seconds: Option<f64>) {
        // In a forked child, the mutex may be locked by a thread that does not exist there.
        if self.generation == fork_generation() {
            *own(&self.timeout) = seconds;
        }
    }

    #[doc = stub_doc!("LedgerReader.stop")]
    fn stop(&self) {
        let is_own = self.generation == fork_generation();
        if let Some(watch) = is_own.then(|| own(&self.running)).as_ref().and_then(|running| running.as_ref()) {
            watch.stop();
        }
    }

    #[doc = stub_doc!("LedgerReader.report")]
    #[pyo3(signature = (by, since, until, conditions, parts, sort=None, *, is_reversed=false, offset=0, limit=None, is_last=false))]
    fn report<'py>(
        &self,
        py: Python<'py>,
        by: Vec<String>,
        since: Option<u64>,
        until: Option<u64>,
        conditions: Where,
        parts: HashMap<String, Vec<u64>>,
        sort: Option<String>,
        is_reversed: bool,
        offset: usize,
        limit: Option<usize>,
        is_last: bool,
    ) -> PyResult<PyReport<'py>> {
        let order = sort.map_or(Ok(Order::Standard), |name| {
            let field = by.iter().position(|field| *field == name).map(Order::Field);
            let unknown = || LedgerError::Query(format!("sort: {name:?} is neither a field of the report nor a sum"));
            field.or_else(|| Sum::from_name(&name).map(Order::Sum)).ok_or_else(unknown)
        })?;
        let dimensions = dimensions(&by, parts)?;
        let filter = filter(since, until, conditions)?;
        let page = Page { order, is_reversed, offset, limit, is_last };
        let found = self.with(py, |reader| reader.report(&dimensions, &filter, page))?;
        py_report(py, found)
    }

    #[doc = stub_doc!("LedgerReader.sums_in_three_ways")]
    fn sums_in_three_ways<'py>(
        &self,
        py: Python<'py>,
        by: Vec<String>,
        other: String,
    ) -> PyResult<Vec<Vec<PyRow<'py>>>> {
        let (fields, other) = (dimensions(&by, HashMap::new())?, Dimension::parse(&other)?);
        let found = self.with(py, |reader| reader.sums_in_three_ways(&fields, &other))?;
        found.into_iter().map(|page| Ok(py_report(py, page)?.0)).collect()
    }

    #[doc = stub_doc!("LedgerReader.durations")]
    #[pyo3(signature = (what, by, since, until, conditions, parts, fractions))]
    #[expect(clippy::too_many_arguments, reason = "a filter is three of them")]
    fn durations(
        &self,
        py: Python<'_>,
        what: &str,
        by: Vec<String>,
        since: Option<u64>,
        until: Option<u64>,
        conditions: Where,
        parts: HashMap<String, Vec<u64>>,
        fractions: Vec<f64>,
    ) -> PyResult<Vec<DurationsRow>> {
        let what = if what == "ttft_ms" { Duration::FirstToken } else { Duration::Latency };
        let dimensions = dimensions(&by, parts)?;
        let filter = filter(since, until, conditions)?;
        let found = self.with(py, |reader| reader.durations(what, &dimensions, &filter, &fractions))?;
        let shown = |value: String| (!value.is_empty()).then_some(value);
        let row = |one: Durations| (one.key.into_iter().map(shown).collect(), one.calls, one.percentiles, one.buckets);
        Ok(found.into_iter().map(row).collect())
    }

    #[doc = stub_doc!("LedgerReader.events")]
    #[pyo3(signature = (since, until, conditions, after, limit))]
    fn events(
        &self,
        py: Python<'_>,
        since: Option<u64>,
        until: Option<u64>,
        conditions: Where,
        after: i64,
        limit: usize,
    ) -> PyResult<(Vec<String>, i64)> {
        let filter = filter(since, until, conditions)?;
        self.with(py, |reader| reader.events(&filter, after, limit))
    }

    #[doc = stub_doc!("LedgerReader.export")]
    #[pyo3(signature = (since, until, conditions, after, limit, columns, is_raw))]
    fn export<'py>(
        &self,
        py: Python<'py>,
        since: Option<u64>,
        until: Option<u64>,
        conditions: Where,
        after: i64,
        limit: usize,
        columns: Option<Vec<String>>,
        is_raw: bool,
    ) -> PyResult<(Bound<'py, PyBytes>, u64, i64)> {
        let filter = filter(since, until, conditions)?;
        let format = columns.map_or(Format::JsonLines, |columns| Format::Csv { columns, is_raw });
        let block = self.with(py, |reader| reader.export(&filter, &format, after, limit))?;
        Ok((PyBytes::new(py, &block.bytes), block.events, block.last))
    }

    #[doc = stub_doc!("LedgerReader.newest")]
    fn newest(
        &self,
        py: Python<'_>,
        since: Option<u64>,
        until: Option<u64>,
        conditions: Where,
        limit: usize,
    ) -> PyResult<Vec<String>> {
        let filter = filter(since, until, conditions)?;
        self.with(py, |reader| reader.newest(&filter, limit))
    }

    #[doc = stub_doc!("LedgerReader.highest")]
    #[pyo3(signature = (since, until, conditions, measure, limit, offset))]
    fn highest(
        &self,
        py: Python<'_>,
        since: Option<u64>,
        until: Option<u64>,
        conditions: Where,
        measure: &str,
        limit: usize,
        offset: usize,
    ) -> PyResult<Vec<String>> {
        let filter = filter(since, until, conditions)?;
        let unknown = || LedgerError::Query(format!("measure: {measure:?} is neither cost_usd nor latency_ms"));
        let measure = Measure::from_name(measure).ok_or_else(unknown)?;
        self.with(py, |reader| reader.highest(&filter, measure, limit, offset))
    }

    #[doc = stub_doc!("LedgerReader.find")]
    fn find(&self, py: Python<'_>, event_id: String) -> PyResult<Option<String>> {
        self.with(py, |reader| reader.find(&event_id))
    }

    #[doc = stub_doc!("LedgerReader.period")]
    fn period(&self, py: Python<'_>) -> PyResult<Option<(u64, u64)>> {
        self.with(py, Reader::period)
    }

    #[doc = stub_doc!("LedgerReader.last_sequence")]
    fn last_sequence(&self, py: Python<'_>) -> PyResult<i64> {
        self.with(py, Reader::last_sequence)
    }

    #[doc = stub_doc!("LedgerReader.sequence_of")]
    fn sequence_of(&self, py: Python<'_>, event_id: String) -> PyResult<i64> {
        self.with(py, |reader| reader.sequence_of(&event_id))
    }

    #[doc = stub_doc!("LedgerReader.files")]
    fn files(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |reader| Ok(reader.files()))
    }
}

//! Arrow's C stream interface, in the capsules in which Python programs exchange it.

use std::ffi::CStr;
use std::path::PathBuf;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatchIterator, RecordBatchReader};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::ledger::{Where, filter};
use crate::ledger::{Cells, LedgerError, Scan, table};
use crate::money::Usd;

/// The name that the interface prescribes.
const STREAM: &CStr = c"arrow_array_stream";

/// The capsule owns the stream and releases it, unless a consumer has moved it out.
fn capsule(py: Python<'_>, reader: Box<dyn RecordBatchReader + Send>) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), STREAM)
}

#[doc = stub_doc!("scan_columns")]
#[pyfunction]
pub(super) fn scan_columns() -> Vec<&'static str> {
    crate::ledger::scan_columns().collect()
}

#[doc = stub_doc!("scan_stream")]
#[pyfunction]
pub(super) fn scan_stream(
    py: Python<'_>,
    path: PathBuf,
    columns: Vec<String>,
    since: Option<u64>,
    until: Option<u64>,
    conditions: Where,
    rows: usize,
) -> PyResult<Bound<'_, PyCapsule>> {
    let filter = filter(since, until, conditions)?;
    let scan = py.detach(|| Scan::open(&path, &columns, filter, rows))?;
    capsule(py, Box::new(scan))
}

#[doc = stub_doc!("report_stream")]
#[pyfunction]
pub(super) fn report_stream(
    py: Python<'_>,
    words: Vec<(String, Vec<Option<String>>)>,
    counts: Vec<(String, Vec<i64>)>,
    amounts: Vec<(String, Vec<Option<String>>)>,
) -> PyResult<Bound<'_, PyCapsule>> {
    let amount = |text: Option<String>| text.map(|text| text.parse::<Usd>()).transpose();
    let mut columns = Vec::new();
    columns.extend(words.into_iter().map(|(name, cells)| (name, Cells::Words(cells))));
    columns.extend(counts.into_iter().map(|(name, cells)| (name, Cells::Counts(cells))));
    for (name, texts) in amounts {
        let cells = texts.into_iter().map(amount).collect::<Result<Vec<_>, _>>().map_err(LedgerError::from)?;
        columns.push((name, Cells::Money(cells)));
    }
    let batch = table(columns)?;
    let schema = batch.schema();
    capsule(py, Box::new(RecordBatchIterator::new([Ok(batch)], schema)))
}

//! What Python must know of the table in `ClickHouse`.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::ledger::{PyReport, Where, filter, py_report};
use crate::event::Unit;
use crate::event::id::parse_id;
use crate::ledger::{Dimension, LedgerError, answered};
use crate::protocol::{COLUMNS, REVISION, insert_settings, place};

#[doc = stub_doc!("clickhouse_columns")]
#[pyfunction]
pub(super) fn clickhouse_columns() -> Vec<(&'static str, &'static str, &'static str)> {
    COLUMNS.iter().chain([&REVISION]).map(|column| (column.name, column.kind, column.rest)).collect()
}

#[doc = stub_doc!("clickhouse_place")]
#[pyfunction]
pub(super) fn clickhouse_place(path: &str) -> Option<(&str, &str)> {
    place(path)
}

#[doc = stub_doc!("clickhouse_report")]
#[pyfunction]
pub(super) fn clickhouse_report<'py>(
    py: Python<'py>,
    lines: &str,
    begins: Vec<Option<Vec<u64>>>,
) -> PyResult<PyReport<'py>> {
    let page = py.detach(|| answered(lines, &begins))?;
    py_report(py, page)
}

#[doc = stub_doc!("clickhouse_settings")]
#[pyfunction]
pub(super) fn clickhouse_settings(ids: Vec<String>) -> PyResult<Vec<(String, String)>> {
    let parse = |id: &String| parse_id(id).ok_or_else(|| PyValueError::new_err(format!("ids: {id:?} is not a UUID")));
    Ok(insert_settings(ids.iter().map(parse).collect::<PyResult<Vec<_>>>()?, false))
}

#[doc = stub_doc!("check_query")]
#[pyfunction]
pub(super) fn check_query(by: Vec<String>, conditions: Where) -> PyResult<()> {
    for name in by {
        match Dimension::parse(&name) {
            Err(LedgerError::Query(rule)) => return Err(LedgerError::Query(format!("by: {rule}")).into()),
            parsed => drop(parsed?),
        }
    }
    filter(None, None, conditions)?;
    Ok(())
}

#[doc = stub_doc!("unit_scales")]
#[pyfunction]
pub(super) fn unit_scales() -> HashMap<&'static str, u64> {
    Unit::all().map(|unit| (unit.name(), unit.scale())).filter(|(_, scale)| *scale != 1).collect()
}

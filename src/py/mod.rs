//! The Python bindings. Each function converts its arguments, calls the core (without the GIL if that takes long) and converts the result.
//! Rules of the meter do not belong here.

#![expect(clippy::needless_pass_by_value, reason = "arguments converted from Python come by value")]
#![allow(clippy::doc_markdown, reason = "docstrings name arguments as Python's documentation generators expect them")]

// Defines `stub_doc!`, which expands to a docstring of `_core.pyi`. `build/stub.rs` generates it.
include!(concat!(env!("OUT_DIR"), "/stub_docs.rs"));

mod arguments;
mod arrow;
mod budgets;
mod capture;
mod care;
mod clickhouse;
mod convert;
mod destination;
mod errors;
mod exchange;
mod fastcall;
mod host;
mod journals;
mod json;
mod ledger;
mod meter;
mod post;
mod price;
mod prompt;
mod query;
mod receipt;
mod response;
mod scope;
mod signals;
mod stats;
mod ticket;
mod tokens;
mod track;

use pyo3::prelude::*;

/// The extension module. `gil_used = false`: everything that threads share is atomic or behind a lock.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::arrow::{report_stream, scan_columns, scan_stream};
    #[pymodule_export]
    use super::budgets::PyBudgets;
    #[pymodule_export]
    use super::capture::{PyScanner, header_values, normalize_usage};
    #[pymodule_export]
    use super::care::{
        ledger_backup, ledger_check, ledger_compact, ledger_pack, ledger_prune, ledger_restore, work_for,
    };
    #[pymodule_export]
    use super::clickhouse::{
        check_query, clickhouse_columns, clickhouse_place, clickhouse_report, clickhouse_settings, unit_scales,
    };
    #[pymodule_export]
    use super::destination::{check_destination, cloud, credential_headers, schemes};
    #[pymodule_export]
    use super::exchange::PyExchange;
    #[pymodule_export]
    use super::fastcall::track_function;
    #[pymodule_export]
    use super::journals::{drop_journal, journals, quarantine, requeue_quarantine};
    #[pymodule_export]
    use super::ledger::PyLedger;
    #[pymodule_export]
    use super::meter::PyMeter;
    #[pymodule_export]
    use super::price::{
        PyCost, catalog_denominator, check_catalog, check_overrides, embedded_catalog, restore_cost, usual_denominator,
    };
    #[pymodule_export]
    use super::query::PyQuery;
    #[pymodule_export]
    use super::receipt::{PyReceipt, restore_receipt};
    #[pymodule_export]
    use super::scope::PyScope;
    #[pymodule_export]
    use super::ticket::{PyRefusal, PyRunBudget, PyTicket};
    #[pymodule_export]
    use super::tokens::{PyEncoding, encoding, encoding_of, register_tokenizer, registered_for, unknown_model};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("UNITS", super::convert::units(module.py())?)
    }
}

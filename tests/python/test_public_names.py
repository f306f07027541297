"""The public names of the package. A name that is added or lost changes these lists on purpose, or not at all."""

from __future__ import annotations

import inspect
import pkgutil

import pytest

import taximeter
from taximeter import testing

METER = {
    # Recording
    "check", "instrument", "measure", "reserve", "track", "wrap",
    # Prices
    "catalog", "catalog_as_of", "models", "preview_catalog", "price", "reprice", "update_catalog",
    # Delivery
    "close", "drain", "drain_report", "drop_dead_letters", "flush", "prometheus", "retry_dead_letters", "stats",
    # What it is set to
    "destinations", "enabled", "ledger_path", "settings",
}  # fmt: skip
MODULE = {
    "UNITS", "__version__",
    "attribute", "bind", "budget", "check", "close", "count_messages", "count_tokens", "default_meter", "drain", "encoding", "encoding_for_model", "flush",
    "init", "measure", "models", "price", "prometheus", "register_tokenizer", "reprice", "reserve", "retry_dead_letters", "stats", "status", "track",
    "uninstrument", "wrap",
    "Budget", "BudgetExceeded", "BudgetUnavailable", "CatalogError", "ConfigError", "Cost", "DeliveryError", "Destination", "Encoding", "FlushReport", "Ledger", "LedgerError", "LedgerTimeoutError",
    "Measurement", "Meter", "ModelEncoding", "Receipt", "Report", "Row", "Standing", "TaximeterError", "TokenCount", "UnknownNameError", "UsageError",
}  # fmt: skip
SUBMODULES = {
    "attribution", "budgets", "catalog", "chart", "cli", "compat", "concealed", "dashboard", "errors", "exposition", "fields", "files", "instrument", "integrations", "ledger", "locks", "log",
    "meter", "middleware", "moments", "sanitize", "scale", "settings", "table", "testing", "tokens", "types", "zones",
}  # fmt: skip
MEMBERS = {
    taximeter.Measurement: {"first_token", "receipt", "set", "set_usage"},
    taximeter.Budget: {"name", "on_threshold", "to_core", "webhook"},
    taximeter.Destination: {"host", "place", "to_core"},
    taximeter.Ledger: {
        "backup",
        "check",
        "compact",
        "events",
        "export",
        "arrivals",
        "find",
        "highest",
        "is_file",
        "follow",
        "last",
        "newest",
        "path",
        "percentiles",
        "prune",
        "period",
        "place",
        "query",
        "report",
        "restore",
        "scan",
        "stop",
        "timeout",
    },
    testing.Captured: {"clear", "events", "report"},
}


def public(names) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_a_meter_has_only_the_listed_public_names(meter):
    assert public(dir(meter)) == METER


def test_the_package_has_only_the_listed_public_names():
    assert {*taximeter.__all__} == MODULE
    assert public(dir(taximeter)) == public(MODULE)
    assert all(hasattr(taximeter, name) for name in MODULE)


def test_the_package_has_only_the_listed_public_submodules():
    assert public(module.name for module in pkgutil.iter_modules(taximeter.__path__)) == SUBMODULES


@pytest.mark.parametrize(("kind", "names"), MEMBERS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_other_classes_have_only_the_listed_public_names(kind, names):
    assert public(dir(kind)) == names


def test_every_public_name_of_a_meter_is_documented():
    for name in METER - {"track"}:
        assert inspect.getdoc(inspect.getattr_static(taximeter.Meter, name)), name

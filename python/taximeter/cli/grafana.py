"""`taximeter grafana` prints a board for Grafana. What it shows is in `grafana.json`; this module says it in Grafana's form.

A panel there has `at` (column, row, width and height on a grid of 24 columns), `queries` with `expr` and `legend`, and what it
needs of `unit`, `decimals`, `color`, `steps` (colors from a value on), `max`, `empty` (the text without data), `texts` (texts for
values), `colors` (of names), `table` (what its legend computes), `columns` (name, unit, decimals) and `sort`. In expressions,
`CALLS` stands for the labels of calls that are chosen on the board, and `MACHINE` for the machines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .common import Add

__all__ = ["FIELDS", "add_commands", "board"]

FIELDS: Final = ("provider", "model", "operation", "status", "agent", "feature", "team", "region", "service_tier", "error")
"""The labels that the board can group by. Those of `--metrics-by` need that option where the metrics come from."""
_CHOSEN: Final = ("provider", "model", "operation")
"""The labels that the board can filter by."""
_MACHINE: Final = 'instance=~"$instance"'
_CALLS: Final = ", ".join([*(f'{name}=~"${name}"' for name in _CHOSEN), _MACHINE])
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_LEAST_INTERVAL: Final = "5m"
"""The shortest bar. Prometheus needs two scrapes in it, and shorter bars are too narrow to read."""
_SCHEMA: Final = 39
"""The version of Grafana's form, that of Grafana 10.4. Later versions read it as well."""


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    command = add(
        "grafana",
        _grafana,
        "print a board for Grafana, which shows the metrics of serve and doctor",
        "grafana > taximeter.json          # Grafana: Dashboards, New, Import",
        'grafana --title "LLM spend" > taximeter.json',
    )
    command.add_argument("--title", default="taximeter: LLM calls and their cost", metavar="TEXT", help="the title of the board")


def _grafana(options: argparse.Namespace) -> int:
    json.dump(board(options.title), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


def board(title: str) -> dict[str, Any]:
    """Return the board in Grafana's form.

    Args:
        title: Its title.
    """
    described = json.loads(Path(__file__).with_name("grafana.json").read_text("utf-8"))
    return {
        "uid": "taximeter",
        "title": title,
        "description": "What LLM calls use and cost, from the metrics of taximeter.",
        "tags": ["llm", "cost", "taximeter"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": [_panel(number, one) for number, one in enumerate(described, 1)],
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1}
    options = [{"text": name, "value": name, "selected": name == "model"} for name in FIELDS]
    by = {
        "name": "by",
        "label": "Group by",
        "type": "custom",
        "query": ",".join(FIELDS),
        "current": {"text": "model", "value": "model", "selected": True},
        "options": options,
        "multi": False,
        "includeAll": False,
        "hide": 0,
    }
    chosen = [
        ("instance", "Machine", "taximeter_ledger_readable"),
        *((name, name.title(), "taximeter_calls_total") for name in _CHOSEN),
    ]
    return [source, by, *(_variable(name, label, metric) for name, label, metric in chosen)]


def _variable(name: str, label: str, metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": f"labels-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Calls may have no operation, which a list of all names would leave out.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"], "selected": True},
        "options": [],
        "hide": 0,
    }


def _panel(number: int, one: Mapping[str, Any]) -> dict[str, Any]:
    x, y, width, height = one["at"]
    place = {"id": number, "title": one["title"], "gridPos": {"x": x, "y": y, "w": width, "h": height}}
    if one["type"] == "row":
        return {**place, "type": "row", "collapsed": False, "panels": []}
    kind, options, custom = _KINDS[one["type"]]
    is_instant = kind != "timeseries"
    return {
        **place,
        "type": kind,
        "description": one.get("description", ""),
        "datasource": _SOURCE,
        **({} if is_instant else {"interval": _LEAST_INTERVAL}),
        "targets": [_target(index, query, kind, is_instant=is_instant) for index, query in enumerate(one["queries"])],
        "fieldConfig": {"defaults": _defaults(one, custom), "overrides": _overrides(one)},
        "options": {**options, **_more_options(one)},
        **_transformations(one),
    }


def _target(index: int, query: Mapping[str, str], kind: str, *, is_instant: bool) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": _SOURCE,
        "expr": query["expr"].replace("CALLS", _CALLS).replace("MACHINE", _MACHINE),
        "legendFormat": query.get("legend", "__auto"),
        "editorMode": "code",
        "format": "table" if kind == "table" else "time_series",
        "instant": is_instant,
        "range": not is_instant,
    }


_LEGEND: Final = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_TOOLTIP: Final = {"mode": "multi", "sort": "desc"}
_LAST: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_LINE: Final = {
    "drawStyle": "line",
    "lineWidth": 2,
    "lineInterpolation": "monotone",
    "fillOpacity": 8,
    "showPoints": "never",
    "spanNulls": True,
}
_BAR: Final = {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 85, "stacking": {"mode": "normal", "group": "A"}, "axisSoftMin": 0}
_KINDS: Final[Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]]] = {
    "stat": (
        "stat",
        {
            "reduceOptions": _LAST,
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "textMode": "auto",
            "wideLayout": True,
        },
        {},
    ),
    "lines": ("timeseries", {"legend": _LEGEND, "tooltip": _TOOLTIP}, {**_LINE, "axisSoftMin": 0}),
    "bars": ("timeseries", {"legend": _LEGEND, "tooltip": _TOOLTIP}, _BAR),
    "gauges": (
        "bargauge",
        {
            "reduceOptions": _LAST,
            "orientation": "horizontal",
            "displayMode": "basic",
            "showUnfilled": True,
            "valueMode": "text",
            "namePlacement": "left",
        },
        {},
    ),
    "table": (
        "table",
        {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}},
        {"align": "auto"},
    ),
}
"""Grafana's type, its options, and the style of its fields."""


def _defaults(one: Mapping[str, Any], custom: Mapping[str, Any]) -> dict[str, Any]:
    """Return how values look."""
    is_plain = "steps" not in one and "color" not in one
    color = (
        {"mode": "palette-classic"}
        if is_plain
        else {"mode": "thresholds"}
        if "steps" in one
        else {"mode": "fixed", "fixedColor": one["color"]}
    )
    steps: Sequence[Sequence[Any]] = one.get("steps", [["green", None]])
    texts = {value: {"text": text, "index": index} for index, (value, text) in enumerate(one.get("texts", {}).items())}
    return {
        "unit": one.get("unit", "short"),
        **({"decimals": one["decimals"]} if "decimals" in one else {}),
        **({"max": one["max"]} if "max" in one else {}),
        **({} if one["type"] in {"lines", "bars"} else {"min": 0}),
        "noValue": one.get("empty", "0" if one["type"] == "stat" else "no data"),
        "color": color,
        "thresholds": {"mode": "absolute", "steps": [{"color": name, "value": value} for name, value in steps]},
        "mappings": [{"type": "value", "options": texts}] if texts else [],
        "custom": dict(custom),
    }


def _overrides(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how the values of single names look."""

    def of(name: str, **properties: Any) -> dict[str, Any]:
        return {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": key, "value": value} for key, value in properties.items()],
        }

    columns = [of(name, unit=unit, decimals=decimals) for name, unit, decimals in one.get("columns", [])]
    return [*columns, *(of(name, color={"mode": "fixed", "fixedColor": color}) for name, color in one.get("colors", {}).items())]


def _more_options(one: Mapping[str, Any]) -> dict[str, Any]:
    if "table" in one:
        return {
            "legend": {
                **_LEGEND,
                "displayMode": "table",
                "placement": "right",
                "calcs": one["table"],
                "sortBy": "Total",
                "sortDesc": True,
            }
        }
    return {"sortBy": [{"displayName": one["sort"], "desc": True}]} if "sort" in one else {}


def _transformations(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes one table of the answers to several queries."""
    if "columns" not in one:
        return {}
    letters = [chr(ord("A") + index) for index in range(len(one["columns"]))]
    names = {f"Value #{letter}": column[0] for letter, column in zip(letters, one["columns"], strict=True)}
    organized = {"excludeByName": {"Time": True}, "renameByName": names, "indexByName": {}}
    return {"transformations": [{"id": "merge", "options": {}}, {"id": "organize", "options": organized}]}

"""The dashboard as a WSGI application."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from ..chart import Chart, bars, lines, ranking
from ..errors import ConfigError, LedgerError
from ..exposition import OPENMETRICS, PLAIN, Family, expose, wants_openmetrics
from ..ledger.metrics import check_labels
from ..ledger.notebook import ticks
from ..meter import prometheus
from ..scale import Unit
from .access import Access, check_request
from .calls import call
from .http import FILE_POLICY, Request, RequestError, Response, json_response
from .live import Live
from .metrics import Paced
from .panels import PANELS, first, latency_series_of, ranked, series_of
from .panels import budgets as budgets_panel
from .prices import explanation
from .source import Readers, Redaction, Source
from .state import State
from .static import page, static

__all__ = ["Dashboard", "Standings", "StartResponse", "app"]

log = logging.getLogger("taximeter")

_API: Final = "/api/v1/"
_LEAST_WIDTH: Final = 280
_HEIGHT: Final = 320
"""Pixels of a chart. Its width can be asked for."""
_CALL: Final = re.compile(r"/api/v1/calls/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_CHART: Final = re.compile(r"/chart/(series|latency|top)(-part)?\.svg")
_EXPORTS: Final = {
    "/api/v1/export.csv": ("csv", "text/csv; charset=utf-8"),
    "/api/v1/export.jsonl": ("jsonl", "application/x-ndjson"),
}
_STATUS: Final = {status: f"{status.value} {status.phrase}" for status in HTTPStatus}
Standings = Callable[[], Sequence[Mapping[str, Any]]]
Processes = Callable[[], Iterable[tuple[Mapping[str, str], Mapping[str, Any]]]]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Dashboard:
    """The dashboard as a WSGI application. It reads the ledger and never writes it.

    Args:
        ledger: Opens the ledger; by default the one of the settings. It is called for each reader.
        access: Who may read. `None` if the application is behind a login of your own, which then decides.
        budgets: Returns what is used of the budgets, as `_core.Budgets.all_standings` does; `None` shows no budgets.
        processes: Returns the counts of processes for `/metrics`, as `taximeter.meter.statuses.labelled` does; `None` for none.
        metrics_by: More labels of calls in `/metrics`, such as `team`.
        redact: Fields whose values are replaced by codes, such as `user` and `tag:email`.
        readers: How many requests read the ledger at the same time.
    """

    def __init__(
        self,
        ledger: Callable[[], Source] | None = None,
        *,
        access: Access | None = None,
        budgets: Standings | None = None,
        processes: Processes | None = None,
        metrics_by: Sequence[str] = (),
        redact: Collection[str] = (),
        readers: int = 4,
    ) -> None:
        self._access = access
        self._readers = Readers(ledger or _ledger, readers)
        self._budgets = budgets
        self._processes = processes
        check_labels(metrics_by)
        self._metrics_by = tuple(metrics_by)
        self._paced = Paced()
        self._redaction = Redaction(redact)
        self._live = Live(self._readers.make, self._redaction)

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        request = Request.of(environ)
        try:
            response = self._answer(request) if environ.get("PATH_INFO") or not request.mount else _to_the_mount(request)
        except RequestError as problem:
            response = _refusal(request, problem)
        except (ValueError, ConfigError) as error:
            response = _refusal(request, RequestError(HTTPStatus.BAD_REQUEST, str(error)))
        except (LedgerError, OSError) as error:
            response = _refusal(request, RequestError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
        except Exception:
            log.exception("taximeter's dashboard cannot answer a request")
            response = _refusal(request, RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "the dashboard failed; its log says why"))
        start_response(_STATUS[response.status], response.head())
        if request.method == "HEAD":
            return []
        return [response.body] if isinstance(response.body, bytes) else response.body

    def _answer(self, request: Request) -> Response:
        if self._access is None:
            check_request(request)
        elif (redirect := self._access.admit(request)) is not None:
            return redirect
        if request.path == "/healthz":
            return Response(b"ok\n")
        if request.path == "/metrics":
            return self._metrics(request)
        if request.path in _EXPORTS:
            return self._export(request)
        if found := _CHART.fullmatch(request.path):
            # The page has the style sheet of charts, and its policy forbids one within a chart.
            chart = self._chart(request, found[1])
            return Response((chart.markup if found[2] else chart.svg).encode(), "image/svg+xml", policy=FILE_POLICY)
        if request.path == "/api/v1/budgets":
            return json_response(budgets_panel(self._budgets() if self._budgets else (), self._redaction))
        if request.path == "/api/v1/live":
            return self._follow(request)
        if request.path == "/":
            return page(request.text)
        if (file := static(request.path)) is not None:
            return file
        if found := _CALL.fullmatch(request.path):
            with self._readers.one(request.is_gone) as source:
                return json_response(call(source, found[1], self._redaction, explanation))
        panel = PANELS.get(request.path.removeprefix(_API)) if request.path.startswith(_API) else None
        if panel is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is nothing at {request.path!r}")
        begin = time.monotonic()
        with self._readers.one(request.is_gone) as source:
            state = State.of_page if panel is first else State.of
            value = panel(source, state(request, source.timezone, self._redaction.fields), self._redaction)
        return json_response({**value, "query_ms": round((time.monotonic() - begin) * 1000, 1)})

    def _state(self, request: Request, source: Source) -> State:
        return State.of(request, source.timezone, self._redaction.fields)

    def _chart(self, request: Request, name: str) -> Chart:
        with self._readers.one(request.is_gone) as source:
            state = self._state(request, source)
            size = (max(state.width, _LEAST_WIDTH), _HEIGHT)
            if name == "latency":
                unit, _, bins, values = latency_series_of(source, state)
                return lines(bins, values, title=f"Latency by {unit}", unit="ms", ticks=ticks(unit, bins), size=size)
            money: Unit = "USD" if state.metric == "cost_usd" else ""
            if name == "top":
                labels, numbers, rest = ranked(source, state, self._redaction)
                return ranking(labels, numbers, title=f"{state.metric} by {state.by}", unit=money, rest=rest, width=size[0])
            unit, _, found = series_of(source, state, self._redaction)
        title = f"{state.metric} by {unit}{f' and {state.by}' if state.by not in {'', unit} else ''}"
        return bars(
            found.bins,
            found.values,
            title=title,
            unit=money,
            ticks=ticks(unit, found.bins),
            rest=found.rest,
            size=size,
        )

    def _metrics(self, request: Request) -> Response:
        processes = self._processes() if self._processes else ()
        families = prometheus.families(processes, self._budgets() if self._budgets else ())
        families += self._paced.families(self._of_ledger)
        is_openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        text = expose(self._redaction.families(families), is_openmetrics=is_openmetrics)
        return Response(text.encode(), OPENMETRICS if is_openmetrics else PLAIN)

    def _of_ledger(self) -> list[Family]:
        # A source of its own: if reading takes longer than a scraper waits, its next request gets the answer.
        try:
            source = self._readers.make()
        except LedgerError:
            return prometheus.UNREADABLE  # delivery and budgets can be read
        return prometheus.of_source(source, self._metrics_by)

    def _follow(self, request: Request) -> Response:
        with self._readers.one(request.is_gone) as source:
            where = self._state(request, source).where
        body = () if request.method == "HEAD" else self._live.open(request, where)
        return Response(body, "text/event-stream", headers={"X-Accel-Buffering": "no"})

    def _export(self, request: Request) -> Response:
        if self._redaction.fields:
            raise RequestError(HTTPStatus.FORBIDDEN, "calls cannot be exported while fields are redacted")
        form, kind = _EXPORTS[request.path]
        # A source of its own: a download may take minutes, and as long as its reader likes.
        source = self._readers.make()
        state = self._state(request, source)
        blocks = source.export(form, since=state.since, until=state.until, where=state.where)
        # An error in the filter is an answer of its own.
        first = next(blocks, b"")
        disposition = f'attachment; filename="taximeter-calls.{form}"'
        return Response(_followed(first, blocks), kind, headers={"Content-Disposition": disposition})


def _followed(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _to_the_mount(request: Request) -> Response:
    """Redirect to the path with a slash at the end, which the page's relative addresses need."""
    place = f"{request.mount}/{f'?{request.text}' if request.text else ''}"
    return Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": place})


def _refusal(request: Request, problem: RequestError) -> Response:
    if request.path.startswith(_API):
        return json_response({"schema_version": 1, "error": problem.message}, problem.status, problem.headers)
    return Response(f"{problem.message}\n".encode("utf-8", "replace"), status=problem.status, headers=problem.headers)


def _ledger() -> Source:
    from .._default_ledger import Ledger  # noqa: PLC0415 - reads the settings

    return Ledger()


def app(environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request about the ledger of the settings, as a WSGI application to mount behind a login of your own."""
    return _mounted(environ, start_response)


_mounted = Dashboard()

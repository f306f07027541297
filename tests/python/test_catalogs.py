"""Price catalogs: merges keep the past, implausible catalogs are rejected, and catalogs are swapped while other threads price."""

from __future__ import annotations

import copy
import gc
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taximeter
from conftest import ROOT, wait_for
from taximeter import _core
from taximeter.catalog import document as form
from taximeter.catalog import genai, merge
from taximeter.catalog import source as downloads

DAY = date(2026, 11, 22)
EARLIER, LATER = date(2026, 11, 1), date(2026, 12, 24)


def document(rates: dict | None = None, **further) -> dict:
    models = {"m": rates or {"input_tokens": "2"}, **{f"other-{n}": {"input_tokens": "1"} for n in range(20)}}
    entries = [{"id": name, "match": {"equals": name}, "prices": [{"rates": own}]} for name, own in models.items()]
    provider = {"id": "p", "api": "", "provider_match": None, "model_match": None, "fallback": [], "models": entries}
    return {"schema": 1, "source": "s", "version": "1", "as_of": DAY.isoformat(), "providers": [provider], **further}


def first(merged: merge.Merged | dict) -> dict:
    found = merged if isinstance(merged, dict) else merged.document
    return found["providers"][0]["models"][0]


def test_a_replaced_rate_ends_on_the_day_of_the_merge():
    merged = merge.merge(document(), document({"input_tokens": "3"}), today=DAY)
    assert first(merged)["prices"] == [
        {"rates": {"input_tokens": "2"}},
        {"from": "2026-11-22", "rates": {"input_tokens": "3"}},
    ]
    assert merged.dated == ["p/m"]
    assert [str(change) for change in merged.changes] == ["p/m input_tokens: 2 → 3"]
    again = merge.merge(merged.document, document({"input_tokens": "3"}), today=LATER)
    assert again.document["providers"] == merged.document["providers"]
    assert not again.changes


def test_rates_with_a_date_from_the_source_are_adopted_unchanged():
    new = document()
    first(new)["prices"].append({"from": "2026-11-20", "rates": {"input_tokens": "3"}})
    merged = merge.merge(document(), new, today=DAY)
    # The source dates the change two days back, but the last catalog did not have it.
    assert first(merged)["prices"][-1] == {"from": "2026-11-22", "rates": {"input_tokens": "3"}}
    future = document()
    first(future)["prices"].append({"from": "2026-12-01", "rates": {"input_tokens": "3"}})
    assert first(merge.merge(document(), future, today=DAY)) == first(future)


def test_windows_are_dated_together():
    new = document()
    first(new)["prices"].append({"window": ["08:00:00", "12:00:00"], "rates": {"input_tokens": "4"}})
    merged = merge.merge(document(), new, today=DAY)
    assert first(merged)["prices"][1:] == [
        {"from": "2026-11-22", "rates": {"input_tokens": "2"}},
        {"from": "2026-11-22", "window": ["08:00:00", "12:00:00"], "rates": {"input_tokens": "4"}},
    ]
    assert merge.merge(merged.document, new, today=LATER).document["providers"] == merged.document["providers"]


def test_variants_are_dated_by_their_context():
    def with_batch(rate):
        made = document()
        first(made)["variants"] = [{"when": {"processing": "batch"}, "rates": {"input_tokens": rate}}]
        return made

    merged = merge.merge(with_batch("1"), with_batch("1.5"), today=DAY)
    assert first(merged)["variants"] == [
        {"when": {"processing": "batch"}, "rates": {"input_tokens": "1"}},
        {"when": {"processing": "batch"}, "from": "2026-11-22", "rates": {"input_tokens": "1.5"}},
    ]
    _core.check_catalog(form.render(merged.document))


def test_merge_and_core_agree_on_the_row_in_force(state):
    merged = merge.merge(document(), document({"input_tokens": "3"}), today=EARLIER)
    meter = taximeter.Meter(state_dir=state)
    meter._engine.core.set_catalog(form.render(merged.document))
    for moment, usd in ((1_793_491_199, 2), (1_793_491_200, 3)):  # around midnight of 2026-11-01
        assert meter.price("m", {"input_tokens": 1_000_000}, "p", at=moment).usd == usd
    meter.close()


def test_entries_that_the_source_dropped_stay_as_retired():
    new = document()
    dropped = new["providers"][0]["models"].pop()
    merged = merge.merge(document(), new, today=DAY)
    assert merged.kept == [f"p/{dropped['id']}"]
    assert merged.document["providers"][0]["models"][-1] == {**dropped, "retired": True}
    assert merge.merge(merged.document, new, today=LATER).document["providers"] == merged.document["providers"]


def test_a_catalog_that_lost_more_than_a_tenth_is_rejected():
    new = document()
    del new["providers"][0]["models"][-3:]
    with pytest.raises(taximeter.CatalogError, match="18 of the 21 models"):
        merge.merge(document(), new, today=DAY)
    renamed = document()
    for model in renamed["providers"][0]["models"]:
        model["id"] += "-new"
    with pytest.raises(taximeter.CatalogError, match="0 of the 21 models"):
        merge.merge(document(), renamed, today=DAY)


def test_entries_dropped_earlier_are_not_counted_again():
    last, new = document(), document()
    for _ in range(10):
        del new["providers"][0]["models"][-1]
        merged = merge.merge(last, new, today=DAY)
        assert len(merged.kept) == 1
        last = merged.document
    assert len(last["providers"][0]["models"]) == 21


@pytest.mark.parametrize("rate", ["20.01", "0.19", "0"])
def test_a_rate_that_changes_more_than_tenfold_is_held_back_until_accepted(rate):
    new = document({"input_tokens": rate})
    merged = merge.merge(document(), new, today=DAY)
    assert first(merged) == first(document())
    assert [(change.old, change.new) for change in merged.held] == [("2", rate)]
    accepted = merge.merge(document(), new, today=DAY, accept=["p/m"])
    assert first(accepted)["prices"][-1]["rates"] == {"input_tokens": rate}
    tenfold = merge.merge(document(), document({"input_tokens": "20"}), today=DAY)
    assert not tenfold.held


def row(rates, **further):
    return {**further, "rates": rates}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([row({"input_tokens": "2"})], [row({"input_tokens": "2"}), row({"input_tokens": "5000"}, **{"from": "2026-11-23"})]),
        ([row({"input_tokens": "2"})], [row({"input_tokens": ["2", [1, "5000"]]})]),
        ([row({"input_tokens": "2"})], [row({})]),
        ([row({"input_tokens": "2", "output_tokens": "3"})], [row({"input_tokens": "2"})]),
        ([row({"input_tokens": "0"})], [row({"input_tokens": "9999"})]),
        ([row({"input_tokens": "2"})], [row({"input_tokens": "2"}), row({"input_tokens": "900"}, window=["08:00:00", "12:00:00"])]),
        (
            [row({"input_tokens": "3"}), row({"input_tokens": "3"}, window=["08:00:00", "12:00:00"], days=["mon"])],
            [
                row({"input_tokens": "3"}), row({"input_tokens": "3"}, window=["08:00:00", "12:00:00"], days=["mon"]),
                row({"input_tokens": "30000"}, window=["08:00:00", "12:00:00"], days=["sun"]),
            ],
        ),
    ],
    ids=["tomorrow", "tier", "no rates", "a missing unit", "no longer free", "hours", "days"],
)  # fmt: skip
def test_a_large_move_is_held_back_in_every_kind_of_row(old, new):
    last, next_ = document(), document()
    first(last)["prices"], first(next_)["prices"] = old, new
    merged = merge.merge(last, next_, today=DAY)
    assert merged.held
    assert first(merged)["prices"] == old


def test_a_context_that_the_source_dropped_keeps_its_rates():
    last = document()
    first(last)["variants"] = [{"when": {"processing": "batch"}, "rates": {"input_tokens": "1"}}]
    merged = merge.merge(last, document(), today=DAY)
    assert first(merged)["variants"] == first(last)["variants"]
    assert merged.kept == ["p/m [processing=batch]"]


def test_an_entry_that_cannot_be_expressed_stays_as_it_was():
    new = document()
    del new["providers"][0]["models"][0]
    merged = merge.merge(document(), new, today=DAY, left_out=["p/m: for a unit that this version does not know"])
    assert merged.kept == []
    assert first(document()) in merged.document["providers"][0]["models"]


rows = st.lists(
    st.fixed_dictionaries(
        {"rates": st.fixed_dictionaries({"input_tokens": st.sampled_from(["1", "2", "3"])})},
        optional={"from": st.sampled_from(["2026-10-01", "2026-11-20", "2026-11-22", "2026-12-01"])},
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@given(rows, rows)
def test_a_merge_keeps_old_rates_adopts_current_ones_and_is_idempotent(before, after):
    # As sources write them: undated rows first, then sorted by day.
    old, new = document(), document()
    first(old)["prices"] = sorted(before, key=lambda row: row.get("from", ""))
    first(new)["prices"] = sorted(after, key=lambda row: row.get("from", ""))
    merged = merge.merge(old, new, today=DAY)
    if not any(row.get("from", "") for row in first(new)["prices"]):
        # The new catalog has no past, so all of the old one's is kept.
        yesterday = date(2026, 11, 21)
        assert dict(form.rates_in_force(merged.document, yesterday)) == dict(form.rates_in_force(old, yesterday))

    def on(found, day):
        return dict(form.rates_in_force(found, day))["p/m"]

    for day in (date(2026, 9, 30), date(2026, 10, 1), date(2026, 11, 21)):
        # A date from the source takes precedence over the day of the merge.
        assert on(merged.document, day) in (on(old, day), on(new, day))
    for day in (DAY, date(2026, 12, 2)):
        assert on(merged.document, day) == on(new, day)
    again = merge.merge(merged.document, new, today=DAY)
    assert again.document["providers"] == merged.document["providers"]


def test_the_compiled_catalog_holds_everything_of_the_json():
    compiled, committed = json.loads(_core.embedded_catalog()), json.loads((ROOT / "data" / "catalog.json").read_text("utf-8"))
    assert compiled["providers"] == committed["providers"]
    assert merge.changes(committed, compiled) == []


# Downloads.


class Source:
    """The responses of a source on loopback. Set `body`, `status` and `location`; `asked` has the headers of every request."""

    def __init__(self) -> None:
        self.body, self.status, self.location, self.etag, self.asked = b"", 200, "", '"one"', []

    def send(self, catalog: dict) -> None:
        self.body = form.render(catalog).encode()


@contextmanager
def serving(source: Source):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            source.asked.append(dict(self.headers))
            if source.location:
                self.send_response(302)
                self.send_header("Location", source.location)
                self.end_headers()
                return
            if self.headers.get("If-None-Match") == source.etag:
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(source.status)
            self.send_header("ETag", source.etag)
            self.send_header("Content-Length", str(len(source.body)))
            self.end_headers()
            self.wfile.write(source.body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/data.json"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def url(source):
    with serving(source) as address:
        yield address


def embedded(rate: str | None = None) -> dict:
    """Return the embedded catalog, with another rate for gpt-4o if one is given."""
    found = json.loads(_core.embedded_catalog())
    if rate is not None:
        openai = next(provider for provider in found["providers"] if provider["id"] == "openai")
        next(model for model in openai["models"] if model["id"] == "gpt-4o")["prices"][0]["rates"]["input_tokens"] = rate
    return found


def price(meter, at=None):
    return meter.price("gpt-4o", {"input_tokens": 1_000_000}, "openai", at=at).usd


def test_an_update_is_merged_written_and_used_by_this_and_the_next_process(state, source, url, run):
    meter = taximeter.Meter(state_dir=state, prices={"multipliers": {"openai/gpt-4o": 2}})
    assert price(meter) == 5
    source.send(embedded("3"))
    merged = meter.update_catalog(url)
    assert [str(change) for change in merged.changes] == ["openai/gpt-4o input_tokens: 2.5 → 3"]
    # The user's multiplier stays, and so does the old rate for earlier calls.
    assert price(meter) == 6
    assert price(meter, at=1_780_000_000) == 5
    # The catalog keeps its own date, so that it can be read again tomorrow.
    assert meter.catalog.startswith(f"genai-prices-{embedded('3')['as_of']}.")
    assert (meter.settings.catalog.stat().st_mode & 0o777, meter.settings.catalog.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    meter.close()
    shown = run(
        "import taximeter; print(taximeter.price('gpt-4o', {'input_tokens': 1_000_000}).usd, taximeter.default_meter.catalog)"
    )
    assert shown.stdout.split() == ["3", meter.catalog]


def test_an_unchanged_catalog_is_not_downloaded_again(state, source, url):
    meter = taximeter.Meter(state_dir=state)
    source.send(embedded("3"))
    assert meter.update_catalog(url) is not None
    assert meter.update_catalog(url) is None
    assert source.asked[1]["If-None-Match"] == '"one"'
    source.etag = '"two"'
    name = meter.catalog
    assert meter.update_catalog(url).changes == []
    assert meter.catalog == name
    meter.close()


def test_the_public_data_of_genai_prices_is_understood(state, source, url):
    raw = [
        {
            "id": "testing", "name": "Testing", "api_pattern": "https://x", "model_match": {"starts_with": "TEST-"},
            "models": [
                {"id": "test-1", "match": {"or": [{"equals": "Test-1"}, {"regex": "^test-1-\\d+$"}]}, "deprecated": True, "prices": [
                    {"prices": {"input_mtok": 1.10, "output_mtok": {"base": 2, "tiers": [{"start": 1000, "price": 4}]}}},
                    {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 0.5}},
                    {"constraint": {"start_date": "2026-12-01"}, "prices": {"input_mtok": 9, "web_searches_kcount": 5}},
                ]},
                {"id": "test-2", "match": {"equals": "test-2"}, "prices": {"input_thoughts": 1}},
            ],
        }
    ]  # fmt: skip
    providers, left_out = genai.from_genai(json.loads(json.dumps(raw)), strict=False)
    assert [entry.partition(":")[0] for entry in left_out] == ["testing/test-2"]
    (model,) = providers[0]["models"]
    assert model["prices"] == [
        {"rates": {"input_tokens": "1.1", "output_tokens": ["2", [1000, "4"]]}},
        {"window": ["00:30:00", "16:30:00"], "rates": {"input_tokens": "0.5"}},
        {"from": "2026-12-01", "rates": {"input_tokens": "9", "web_searches": "5"}},
    ]
    assert model["match"]["or"][0] == {"equals": "test-1"}
    assert model["retired"]
    with pytest.raises(taximeter.CatalogError, match="input_thoughts"):
        genai.from_genai(raw)
    source.body = json.dumps(raw).encode()
    meter = taximeter.Meter(state_dir=state)
    with pytest.raises(taximeter.CatalogError, match=r"0 of the \d+ models"):
        meter.update_catalog(url)
    meter.close()


HOSTILE = {
    "empty": (b"", "did not send JSON"),
    "html": (b"<html>", "did not send JSON"),
    "not utf-8": (b"\xff\x80", "not UTF-8"),
    "a number": (b"7", "neither a price catalog"),
    "another list": (b'[{"id": 1}]', "the form of genai-prices"),
    "deeply nested": (b"[" * 200_000, "did not send JSON"),
    "other schema": (b'{"schema": 9, "source": "s", "version": "1", "providers": []}', "schema 9"),
    "no models": (b'{"schema": 1, "source": "s", "version": "1", "providers": []}', "0 of the"),
    "another currency": (b'{"schema": 1, "currency": "EUR", "source": "s", "version": "1", "providers": []}', "EUR"),
    "an invalid date": (b'{"schema": 1, "as_of": "never", "source": "s", "version": "1", "providers": []}', "never"),
    "a future date": (b'{"schema": 1, "as_of": "2999-01-01", "source": "s", "version": "1", "providers": []}', "in the future"),
    "an old date": (
        b'{"schema": 1, "as_of": "2020-01-01", "source": "s", "version": "1", "providers": []}',
        "older than the one in force",
    ),
    "an empty match rule": (
        b'[{"id": "p", "api_pattern": "", "models": [{"id": "m", "match": {}, "prices": {}}]}]',
        "the form of genai-prices",
    ),
    "not a number": (
        b'[{"id": "p", "api_pattern": "", "models": [{"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": "nan"}}]}]',
        "0 of the",
    ),
    "unknown unit": (form.render(document({"bananas": "1"})).encode(), "bananas"),
    "negative": (form.render(document({"input_tokens": "-1"})).encode(), "negative"),
    "a float": (form.render(document({"input_tokens": 1.5})).encode(), "malformed"),
    "endless": (b" " * (17 << 20), "more than 16 MB"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_invalid_catalog_is_rejected_and_the_old_one_stays(state, source, url, kind):
    source.body, message = HOSTILE[kind]
    meter = taximeter.Meter(state_dir=state)
    with pytest.raises(taximeter.CatalogError, match=message):
        meter.update_catalog(url)
    assert price(meter) == 2.5
    assert not meter.settings.catalog.exists()
    meter.close()


def test_a_truncated_catalog_is_rejected_at_every_length(state):
    text = form.render(document())
    for length in range(0, len(text) - 2, 97):
        with pytest.raises(taximeter.CatalogError):
            _core.check_catalog(text[:length])


@pytest.mark.parametrize(
    "source",
    [
        "http://prices.example/data.json?key=canary", "https://user:canary@127.0.0.1/x", "https://127.0.0.1:canary/x",
        "https://h/a b?key=canary", "ftp://u:canary@h/x", "htps://h/x?key=canary", "https://canary\u2100.example/", "https://h\n/canary",
        "https://127.0.0.1:1/data.json?key=canary", "https:///canary",
    ],
)  # fmt: skip
def test_errors_do_not_repeat_a_rejected_or_failing_source(state, source):
    meter = taximeter.Meter(state_dir=state)
    with pytest.raises(taximeter.CatalogError) as caught:
        meter.update_catalog(source)
    assert "canary" not in str(caught.value)
    with pytest.raises(taximeter.TaximeterError) as configured:
        meter._engine.configure({"prices": {"source": source}})
        meter.update_catalog()
    assert "canary" not in str(configured.value)
    meter.close()


def test_prices_are_downloaded_only_over_https_or_from_localhost(state, source, url):
    meter = taximeter.Meter(state_dir=state)
    for elsewhere in ("http://prices.example/x", "https://prices.example/x", "ftp://127.0.0.1/x", "file:///etc/hostname"):
        source.location = elsewhere
        with pytest.raises(taximeter.CatalogError, match=r"over https, or|another kind of address|must be|answered 302"):
            meter.update_catalog(url)
    source.location, source.status = "", 500
    with pytest.raises(taximeter.CatalogError, match=r"127\.0\.0\.1 answered 500"):
        meter.update_catalog(url)
    for nothing in (str(state / "nowhere.json"), " "):
        with pytest.raises(taximeter.CatalogError, match=r"nowhere\.json|empty"):
            meter.update_catalog(nothing)
    assert price(meter) == 2.5
    meter.close()


def test_a_broken_or_very_slow_response_is_an_error(state, monkeypatch):
    def answer(data: bytes, pause: float = 0.0):
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            connection, _ = listener.accept()
            connection.recv(4096)
            with suppress(OSError):
                for byte in data:
                    connection.sendall(bytes([byte]))
                    time.sleep(pause)
            connection.close()
            listener.close()

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/x"

    meter = taximeter.Meter(state_dir=state)
    for data in (
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        with pytest.raises(taximeter.CatalogError):
            meter.update_catalog(answer(data))
    monkeypatch.setattr(downloads, "MAX_SECONDS", 0.3)
    monkeypatch.setattr(downloads, "_PIECE", 1)
    with pytest.raises(taximeter.CatalogError, match="took more than"):
        meter.update_catalog(answer(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 10_000, 0.01))
    meter.close()


def test_a_download_of_one_process_is_used_by_the_next_update_of_another(state, source, url):
    one, two = taximeter.Meter(state_dir=state), taximeter.Meter(state_dir=state)
    assert price(two) == 2.5
    source.send(embedded("3"))
    one.update_catalog(url)
    assert two.update_catalog(url) is None
    assert price(two) == 3
    one.close()
    two.close()


@pytest.mark.slow
def test_concurrent_updates_run_one_at_a_time(state, source, url):
    meters = [taximeter.Meter(state_dir=state) for _ in range(4)]
    source.send(embedded("3"))
    threads = [threading.Thread(target=meter.update_catalog, args=(url,)) for meter in meters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {price(meter) for meter in meters} == {3}
    assert [path.name for path in (state / "prices").iterdir() if path.name.startswith(".")] == []
    for meter in meters:
        meter.close()


def test_a_held_back_rate_can_be_accepted_from_the_same_source(state, source, url):
    meter = taximeter.Meter(state_dir=state)
    source.send(embedded("99"))
    assert meter.update_catalog(url).held
    assert price(meter) == 2.5
    with pytest.raises(taximeter.CatalogError, match="not an entry"):
        meter.update_catalog(url, accept=["openai/gpt-4oo"])
    assert not meter.update_catalog(url, accept=["openai/gpt-4o"]).held
    assert price(meter) == 99
    meter.close()


def test_a_damaged_catalog_file_is_counted_and_the_embedded_catalog_is_used(state, source, url):
    (state / "prices").mkdir(parents=True)
    (state / "prices" / "catalog.json").write_text(form.render(embedded("3"))[:-1000])
    meter = taximeter.Meter(state_dir=state)
    assert price(meter) == 2.5
    assert meter.stats()["remarks"]["unreadable_catalog"] == 1
    for damaged in ('{"as_of":"2026-11-22"}', '{"as_of":7}', "[]", '{"schema":1,"providers":7}'):
        (state / "prices" / "catalog.json").write_text(damaged)
        assert meter._engine.catalog_document()["source"] == "genai-prices"
    source.send(embedded("3"))
    meter.update_catalog(url)
    assert price(meter) == 3
    meter.close()


def test_a_catalog_older_than_the_embedded_one_is_not_used(state):
    (state / "prices").mkdir(parents=True)
    (state / "prices" / "catalog.json").write_text(form.render({**embedded("3"), "as_of": "2020-01-01"}))
    meter = taximeter.Meter(state_dir=state)
    assert price(meter) == 2.5
    meter.close()


def test_a_catalog_is_swapped_atomically_while_other_threads_price(state):
    meter = taximeter.Meter(state_dir=state)
    texts = [form.render(document({"input_tokens": rate, "output_tokens": rate})) for rate in ("1", "5")]
    meter._engine.core.set_catalog(texts[0])
    seen, stop = set(), threading.Event()

    def work():
        while not stop.is_set():
            cost = meter.price("m", {"input_tokens": 1_000_000, "output_tokens": 1_000_000}, "p")
            receipt = meter.track(provider="p", model="m", input_tokens=1_000_000, output_tokens=1_000_000)
            seen.update({cost.usd, receipt.cost_usd})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(300):
        meter._engine.core.set_catalog(texts[turn % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == {2, 10}
    meter.close()


def refreshers() -> int:
    return sum(thread.name == "taximeter-prices" for thread in threading.enumerate())


def test_prices_are_updated_in_the_background(state, source, url):
    source.send(embedded("3"))
    meter = taximeter.Meter(state_dir=state, prices={"refresh": "1h", "source": url})
    wait_for(lambda: price(meter) == 3)
    # A recent file on disk is not downloaded again, neither after a change of settings nor by another meter.
    meter._engine.configure({"prices": {"refresh": "2h", "source": url}})
    other = taximeter.Meter(state_dir=state, prices={"refresh": "1h", "source": url})
    time.sleep(0.2)
    assert len(source.asked) == 1
    assert price(other) == 3
    for one in (meter, other):
        one.close()
    wait_for(lambda: refreshers() == 0)


@pytest.mark.slow
def test_background_updates_end_with_the_meter_or_the_setting(state, source, url):
    source.send(embedded("3"))
    wanted = {"refresh": "1h", "source": url}
    meter = taximeter.Meter(state_dir=state, prices=wanted)
    wait_for(lambda: price(meter) == 3)
    meter._engine.configure({"prices": {"refresh": False}})
    wait_for(lambda: refreshers() == 0)
    meter._engine.configure({"prices": wanted})
    assert refreshers() == 1
    meter.close()
    wait_for(lambda: refreshers() == 0)
    for _ in range(5):
        taximeter.Meter(state_dir=state, prices=wanted)
    wait_for(lambda: gc.collect() >= 0 and refreshers() == 0)


def test_a_failing_download_is_logged_once_and_keeps_the_prices(state, source, url, caplog):
    source.status = 500
    meter = taximeter.Meter(state_dir=state, prices={"refresh": "1h", "source": url})
    wait_for(lambda: "answered 500" in caplog.text)
    assert price(meter) == 2.5
    meter.close()


def test_nothing_is_downloaded_by_default(state, source, url):
    meter = taximeter.Meter(state_dir=state, prices={"source": url})
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.close()
    assert not source.asked
    assert meter._engine._refresher is None


def test_a_merge_does_not_modify_its_arguments():
    old, new = document(), document({"input_tokens": "3"})
    kept = copy.deepcopy((old, new))
    merge.merge(old, new, today=DAY)
    assert (old, new) == kept

"""Environments of services: real servers and worker pools that fork, recycle, kill and patch."""

from __future__ import annotations

import http.client
import importlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import taximeter
from collector import Collector
from conftest import wait_for
from taximeter.meter import engine_of

BIN = Path(sys.executable).parent
APP = """
import os, taximeter
taximeter.init(instrument=False)
# The process that loads the application has a journal and a thread before it forks workers.
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user="loader")
def application(environ, start_response):
    receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, session=str(os.getpid()))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{receipt.id} {os.getpid()}".encode()]
"""
SERVERS = {
    "gunicorn --preload": ["gunicorn", "--preload", "-w", "2", "--max-requests", "50", "-b", "127.0.0.1:{port}", "app"],
    "gunicorn": ["gunicorn", "-w", "2", "--max-requests", "50", "-b", "127.0.0.1:{port}", "app"],
    "gunicorn gevent": [
        "gunicorn", "-k", "gevent", "--preload", "-w", "2", "--max-requests", "50", "-b", "127.0.0.1:{port}", "app",
    ],
    "uwsgi": ["pyuwsgi", "--http-socket", "127.0.0.1:{port}", "-w", "app", "-M", "-p", "2", "--max-requests", "50", "--die-on-term"],
    "uwsgi --lazy-apps": [
        "pyuwsgi", "--http-socket", "127.0.0.1:{port}", "-w", "app", "-M", "-p", "2", "--max-requests", "50", "--lazy-apps",
        "--die-on-term",
    ],
}  # fmt: skip
REQUESTS = 500


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def get(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def answers(port: int) -> bool:
    try:
        return bool(get(port))
    except OSError:
        return False


def run_server(command: list[str], directory: Path, environment: dict[str, str]) -> tuple[list[str], set[str]]:
    """Send many requests to a server. Return the ids that it acknowledged, and its workers."""
    port = free_port()
    (directory / "app.py").write_text(APP)
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(BIN / command[0]), *(part.format(port=port) for part in command[1:])],
            env={**os.environ, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(directory), **environment},
            cwd=directory,
            stdout=log,
            stderr=log,
        )
        try:
            try:
                wait_for(lambda: answers(port) or server.poll() is not None)
                assert server.poll() is None
                pairs = [get(port).split() for _ in range(REQUESTS)]
            except (AssertionError, OSError, http.client.HTTPException) as error:
                raise AssertionError((directory / "log").read_text()) from error
            server.send_signal(signal.SIGTERM)
            server.wait(90)
        finally:
            server.kill()
    return [one for one, _ in pairs], {pid for _, pid in pairs}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_loses_nothing_when_workers_are_restarted(kind, tmp_path, state):
    ids, workers = run_server(SERVERS[kind], tmp_path, {"TAXIMETER_STATE_DIR": str(state)})
    assert len(set(ids)) == REQUESTS
    assert len(workers) >= 2
    taximeter.Meter(state_dir=state).drain()
    assert set(ids) <= {event["id"] for event in taximeter.Ledger(state / "ledger.db").events()}


@pytest.mark.parametrize("kind", ["gunicorn --preload", "uwsgi"])
def test_a_server_delivers_over_http_from_its_workers(kind, tmp_path, state):
    with Collector() as collector:
        environment = {"TAXIMETER_STATE_DIR": str(state), "TAXIMETER_DESTINATION": collector.url}
        ids, _ = run_server(SERVERS[kind], tmp_path, environment)
        taximeter.Meter(destination=collector.url, state_dir=state).drain()
        assert set(ids) <= set(collector.events)


CELERY = """
import os, taximeter
from celery import Celery
here = os.path.dirname(os.path.abspath(__file__))
taximeter.init(instrument=False)
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user="loader")
app = Celery("tasks", broker="filesystem://", backend=f"file://{here}/results")
app.conf.broker_transport_options = {"data_folder_in": f"{here}/queue", "data_folder_out": f"{here}/queue",
                                     "control_folder": f"{here}/control"}
app.conf.broker_connection_retry_on_startup = True
@app.task
def work():
    return taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, session=str(os.getpid())).id
"""


def test_celery_workers_lose_nothing(tmp_path, state):
    for folder in ("queue", "results", "control"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tasks.py").write_text(CELERY)
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state), "PYTHONPATH": str(tmp_path)}
    command = [
        str(BIN / "celery"),
        "-A",
        "tasks",
        "worker",
        "-P",
        "prefork",
        "-c",
        "2",
        "--max-tasks-per-child",
        "20",
        "-l",
        "warning",
    ]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
        try:
            text = "from tasks import work; print(*[r.get(timeout=60) for r in [work.delay() for _ in range(100)]])"
            outcome = subprocess.run(
                [sys.executable, "-c", text], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
            )
            assert outcome.returncode == 0, outcome.stderr + (tmp_path / "log").read_text()
            worker.send_signal(signal.SIGTERM)
            worker.wait(120)
        finally:
            worker.kill()
    ids = outcome.stdout.split()
    assert len(set(ids)) == 100
    taximeter.Meter(state_dir=state).drain()
    events = list(taximeter.Ledger(state / "ledger.db").events())
    assert set(ids) <= {event["id"] for event in events}
    assert len({event.get("session") for event in events if event["id"] in ids}) >= 4


def test_under_gevent_a_flush_does_not_block_other_greenlets(run):
    listener = socket.create_server(("127.0.0.1", 0))
    outcome = run(
        """
        from gevent import monkey
        monkey.patch_all()
        import sys, gevent, taximeter
        taximeter.init(destination=["ledger", sys.argv[1]], instrument=False)
        ticks = 0
        def tick():
            global ticks
            while True:
                gevent.sleep(0.01)
                ticks += 1
        def work(n):
            with taximeter.attribute(user=str(n)):
                gevent.sleep(0)
                assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        ticker = gevent.spawn(tick)
        gevent.joinall([gevent.spawn(work, n) for n in range(200)], raise_error=True)
        report = taximeter.flush(1)
        print(report.pending, ticks > 30)
        ticker.kill()
        rows = taximeter.Ledger().report(by="user")
        print(sorted(row.calls for row in rows) == [1] * 200)
        """,
        f"cloudevents+http://127.0.0.1:{listener.getsockname()[1]}/",
    )
    assert outcome.stdout.split() == ["200", "True", "True"], outcome.stderr
    listener.close()


def test_under_gevent_a_flush_in_the_hub_waits_instead_of_raising(run):
    outcome = run(
        """
        from gevent import monkey
        monkey.patch_all()
        import os, signal, gevent, taximeter
        taximeter.init(instrument=False)
        def ended(*_):
            print(taximeter.flush(5).pending, flush=True)
            os._exit(0)
        signal.signal(signal.SIGTERM, ended)
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        gevent.get_hub().loop.timer(0.2).start(os.kill, os.getpid(), signal.SIGTERM)
        gevent.sleep(10)
        """
    )
    assert outcome.stdout.strip() == "0", outcome.stderr


def test_asyncio_tasks_and_threads_have_their_own_attribution(run):
    outcome = run(
        """
        import asyncio, taximeter
        taximeter.init(instrument=False)
        async def work(n):
            with taximeter.attribute(user=str(n)):
                await asyncio.sleep(0)
                assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
                await asyncio.to_thread(taximeter.track, provider="openai", model="gpt-4o", input_tokens=1)
        async def main():
            await asyncio.gather(*[work(n) for n in range(200)])
            report = await asyncio.to_thread(taximeter.flush)
            assert report.pending == 0
        asyncio.run(main())
        print(sorted(row.calls for row in taximeter.Ledger().report(by="user")) == [2] * 200)
        """
    )
    assert outcome.stdout.strip() == "True"


SUBINTERPRETER = """
import faulthandler, sys
faulthandler.dump_traceback_later(30, exit=True)
if sys.version_info >= (3, 13):
    import _interpreters
    def run(text):
        one = _interpreters.create("legacy")
        error = _interpreters.run_string(one, text)
        assert error is None, error.formatted
        _interpreters.destroy(one)
else:
    import _xxsubinterpreters as old
    def run(text):
        one = old.create(isolated=False)
        old.run_string(one, text)
        old.destroy(one)
if sys.argv[1] == "main first":
    import taximeter
    assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
run('''
import taximeter
taximeter.init(team="search", instrument=("openai",), prices={"refresh": "6h"})
for _ in range(3):
    with taximeter.attribute(feature="f"):
        receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
assert not receipt and receipt.refused == "subinterpreter" and receipt.cost_usd is None
with taximeter.measure(provider="openai", model="gpt-4o") as call:
    call.set_usage({"input_tokens": 1})
assert taximeter.stats()["refused"]["subinterpreter"] == 4
assert taximeter.stats()["refused"]["no_space"] == taximeter.stats()["journal_bytes"] == 0
assert taximeter.flush().dropped == taximeter.close().dropped == 4
assert "subinterpreter" in taximeter.prometheus()
try:
    taximeter.price("gpt-4o", {"input_tokens": 1})
except taximeter.TaximeterError as error:
    assert "subinterpreter" in str(error)
else:
    raise AssertionError("a price came from nowhere")
''')
import taximeter
assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
assert taximeter.flush().pending == 0
print("well")
"""


def test_the_stub_has_the_names_of_the_extension():
    def public(thing: object) -> set[str]:
        return {name for name in dir(thing) if not name.startswith("_")}

    real, absent = taximeter._core, importlib.import_module("taximeter._subinterpreter.stub")
    assert public(real) <= public(absent)
    for name in ("Budgets", "Meter", "Receipt", "Scope"):  # the other classes cannot be instantiated
        assert public(getattr(real, name)) <= public(getattr(absent, name)), name
    engine = engine_of(taximeter.Meter(backend="memory"))
    meter = absent.Meter(scope=None, warn=None, configure=None)
    stats, stand_in = engine.core.stats(), meter.stats()
    assert engine.budgets.stats().keys() == absent.Budgets(meter).stats().keys()
    assert stats.keys() == stand_in.keys()
    assert stats["refused"].keys() | {"subinterpreter"} == stand_in["refused"].keys()
    assert stats["remarks"].keys() == stand_in["remarks"].keys()


@pytest.mark.parametrize("order", ["main first", "subinterpreter first"])
def test_a_subinterpreter_only_counts_events_and_can_be_ended(run, order):
    assert run(SUBINTERPRETER, order).stdout.strip() == "well"


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)", "os.abort()", "sys.exit(0)"])
def test_events_of_an_ended_process_reach_the_collector(run, state, end):
    with Collector() as collector:
        outcome = run(
            f"""
            import os, signal, sys, taximeter
            taximeter.init(destination=sys.argv[1], instrument=False)
            for _ in range(500):
                os.write(1, taximeter.track(provider="openai", model="gpt-4o", input_tokens=1).id.encode() + b"\\n")
            {end}
            """,
            collector.url,
            check=False,
        )
        ids = outcome.stdout.split()
        taximeter.Meter(destination=collector.url, state_dir=state).drain()
        assert len(ids) == 500
        assert set(collector.events) == set(ids)


def test_the_command_drain_serves_as_a_stop_hook(run, state):
    with Collector() as collector:
        outcome = run(
            textwrap.dedent(
                """
                import os, sys, taximeter
                taximeter.init(destination=sys.argv[1], instrument=False)
                for _ in range(100):
                    print(taximeter.track(provider="openai", model="gpt-4o", input_tokens=1).id)
                sys.stdout.flush()
                os._exit(0)
                """
            ),
            collector.url,
        )
        drained = subprocess.run(
            [sys.executable, "-m", "taximeter", "drain"],
            env={**os.environ, "TAXIMETER_DESTINATION": collector.url},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        assert drained.stdout == "100 events delivered\n"
        assert set(collector.events) == set(outcome.stdout.split())

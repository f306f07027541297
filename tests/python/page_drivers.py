"""Code that tests the files of a page with the real framework. It runs after the page's own code, in the same process."""

from __future__ import annotations

_RECORDED = """
def recorded():
    report = taximeter.flush(10)
    assert report.pending == 0, taximeter.stats()
    return list(taximeter.Ledger().events())
"""

DRIVERS: dict[str, str] = {
    "docs/recipes/fastapi.md": f"""
import taximeter
from fastapi.testclient import TestClient
from app import app
{_RECORDED}
with TestClient(app) as visitor:
    answer = visitor.get("/ask", params={{"question": "Hello?"}}, headers={{"x-customer": "acme"}})
assert (answer.status_code, answer.text) == (200, "The meter is running.")
(event,) = recorded()
assert (event["team"], event["customer"], event["feature"]) == ("search", "acme", "/ask")
assert (event["usage_status"], event["output_tokens"]) == ("complete", 307)
""",
    "docs/budgets.md": """
import taximeter
from app import app
from fastapi.testclient import TestClient
with TestClient(app) as visitor:
    asked = {"question": "Hello?", "customer": "visitor"}
    assert visitor.get("/ask", params=asked).json() == "The meter is running."
    taximeter.track(provider="openai", model="gpt-4o", output_tokens=1_000_000, customer="visitor")
    answer = visitor.get("/ask", params=asked)
    other = visitor.get("/ask", params={**asked, "customer": "other"})
assert (answer.status_code, answer.json()["error"]) == (429, "budget")
assert 0 < int(answer.headers["retry-after"]) <= 25 * 3600
assert other.status_code == 200
""",
    "docs/recipes/django.md": f"""
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django, taximeter
from django.test import Client
django.setup()
{_RECORDED}
answer = Client().get("/ask", {{"question": "Hello?"}})
assert (answer.status_code, answer.content) == (200, b"The meter is running.")
(event,) = recorded()
assert (event["team"], event["feature"], "user" in event) == ("shop", "/ask", False)
""",
    "docs/recipes/flask.md": f"""
import taximeter
import views
from app import app
{_RECORDED}
app.secret_key = "k"
visitor = app.test_client()
assert visitor.get("/ask?question=Hello", environ_overrides={{"REMOTE_USER": "ada"}}).text == "The meter is running."
with visitor.session_transaction() as session:
    session["customer"] = "acme"
assert visitor.get("/summary").text == "The meter is running."
assert [(event.get("user"), event.get("customer"), event["feature"]) for event in recorded()] == [
    ("ada", None, "/ask"), (None, "acme", "/summary"),
]
""",
    "docs/recipes/celery.md": f"""
import taximeter
from celery.contrib.testing.worker import start_worker
from tasks import app, summarise
{_RECORDED}
with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
    assert summarise.delay("A long text.", "acme").get(timeout=60) == "The meter is running."
(event,) = recorded()
assert (event["team"], event["feature"], event["customer"]) == ("documents", "summaries", "acme")
""",
    "docs/recipes/gunicorn.md": f"""
import os, signal, socket, subprocess, sys, time, urllib.request
import taximeter
{_RECORDED}
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = subprocess.Popen([os.path.join(os.path.dirname(sys.executable), "gunicorn"), "-b", f"127.0.0.1:{{port}}", "wsgi:app"])
try:
    for attempt in range(600):
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{{port}}/").read()
            break
        except OSError:
            assert server.poll() is None
            time.sleep(0.05)
    assert answer == b"The meter is running."
finally:
    server.send_signal(signal.SIGTERM)
    server.wait(60)
taximeter.init(instrument=False)
taximeter.drain()
(event,) = recorded()
assert event["team"] == "search"
""",
    "docs/testing.md": """
import pytest
assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_answer.py"]) == 0
""",
    "docs/recipes/aws-lambda.md": """
import taximeter
from handler import handler
answer = handler({"question": "Hello?", "customer": "acme"}, None)
assert answer == {"statusCode": 200, "body": "The meter is running."}
(destination,) = taximeter.stats()["destinations"].values()
assert (destination["delivered"], destination["pending"]) == (1, 0)
""",
}

# Code that runs before the page's code.
PREPARE: dict[str, str] = {
    # There is no server at the page's address; test_clickhouse.py has one.
    "docs/clickhouse.md": """
import os, taximeter
os.environ["SENDER_KEY"] = "k"
taximeter.Ledger.report = lambda self, **_: None
""",
    "docs/frames.md": """
import taximeter
taximeter.init(instrument=False)
for model, customer in (("gpt-4o", "acme"), ("gpt-4o", "acme"), ("gpt-4o-mini", "globex")):
    taximeter.track(provider="openai", model=model, input_tokens=1000, output_tokens=300, customer=customer)
taximeter.flush()
""",
    "docs/recipes/monthly-csv.md": """
import datetime, taximeter
taximeter.init(instrument=False)
day = datetime.datetime(2026, 11, 15, tzinfo=datetime.timezone.utc)
taximeter.track(
    provider="openai", model="gpt-4o", input_tokens=1009, cache_read_tokens=503, output_tokens=307, customer="acme", started_at=day
)
taximeter.flush()
""",
}

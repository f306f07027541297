"""What a failing service does to the background calls of all five SDKs: a warning without secrets, and a line in `taximeter doctor`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import wait_for
from taximeter import compat
from taximeter.compat import paygent_sdk, teer, token_trackr, tokenr, tokentally
from taximeter.compat._outbox import all_outboxes
from vendor import VendorServer

KEY = "tt_canary-5f3a"


def send_teer(url: str) -> Any:
    return teer.TeerClient(KEY, track_url=url, background=True).ingest.send({"provider": "openai", "model": "gpt-4o", "usage": {}})


def send_tokentally(url: str) -> Any:
    return tokentally.TokenTally(KEY, base_url=url, background=True).track(1, 2, "gpt-4o", "openai")


def send_token_trackr(url: str) -> Any:
    config = token_trackr.TokenTrackrConfig(backend_url=url, api_key=KEY, batch_size=1)
    return token_trackr.TokenTrackrClient(config).record("gemini", "gemini-2.5-pro", 1, 2)


def send_paygent(url: str) -> Any:
    usage = paygent_sdk.RawUsageData("OpenAI", "gpt-4o", 1, 2)
    return paygent_sdk.Client(KEY, url).send_usage_v2("agent", "customer", "chat", usage)


def send_tokenr(url: str) -> Any:
    tokenr.init(token=KEY, url=url)
    return tokenr.track("openai", "gpt-4o", 1, 2)


SDKS: dict[str, Callable[[str], Any]] = {
    "teer": send_teer, "tokentally": send_tokentally, "token_trackr": send_token_trackr, "paygent": send_paygent, "tokenr": send_tokenr,
}  # fmt: skip
FAILURES = {
    "a wrong key": (401, "(destination_paused)", "answered 401"),
    "a wrong path": (404, "(destination_paused)", "answered 404"),
    "a redirect": (302, "(destination_paused)", "answered 302"),
    "a refused event": (422, "(dead_letters)", "dead letter"),
}


@pytest.fixture
def sdks(outboxes, monkeypatch):
    monkeypatch.setenv("TOKEN_TRACKR_METADATA_URL", "")
    return outboxes


def warned(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_warning_and_a_line_of_the_doctor(sdks, cli, caplog, failure):
    status, kind, shown = FAILURES[failure]
    with contextlib.ExitStack() as stack:
        for send in SDKS.values():
            server = stack.enter_context(VendorServer())
            server.answers = [(status, f"no such thing as {KEY}")]
            server.headers = {"location": "/moved"} if status == 302 else {}
            for _ in range(3):
                send(server.url)
        wait_for(lambda: compat.flush(2) and compat.stats() and len(warned(caplog)) == len(SDKS))
        for _, outbox in all_outboxes():
            # The doctor reads what a process writes when it ends, or every few seconds.
            outbox.close(1)
        said = warned(caplog)
        assert len(said) == len(SDKS)
        assert all(kind in one and "127.0.0.1" in one and KEY not in one for one in said)
        doctor = cli("doctor", code=1).stdout
    assert doctor.count(shown) >= (len(SDKS) if "answered" in shown else 1)
    assert KEY not in doctor


@pytest.mark.parametrize("sdk", SDKS)
def test_a_program_that_ends_in_an_outage_says_so(run, cli, tmp_path, sdk):
    text = f"""
    import sys
    sys.path.insert(0, sys.argv[2])
    import test_compat_failures as sdks
    for _ in range(3):
        sdks.SDKS["{sdk}"](sys.argv[1])
    """
    folder = str(Path(__file__).parent)
    outcome = run(text, "http://127.0.0.1:9", folder, TOKEN_TRACKR_METADATA_URL="", HOME=str(tmp_path))
    said = outcome.stderr.splitlines()
    assert all("127.0.0.1" in one and "refused" in one and KEY not in one for one in said)
    # Each kind of warning is there once. Token Trackr writes events to files after some attempts, which the end may forestall.
    kinds = [one.rpartition(" ")[2] for one in said]
    assert kinds and len(set(kinds)) == len(kinds)
    assert set(kinds) <= ({"(fallback_written)", "(unsent_at_end)"} if sdk == "token_trackr" else {"(unsent_at_end)"})
    if sdk != "token_trackr":
        assert "refused" in cli("doctor", code=1).stdout

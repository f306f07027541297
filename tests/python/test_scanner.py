"""The scanner and hostile responses: memory, time without releasing the GIL, and forks."""

from __future__ import annotations

import json

import pytest

from taximeter import _core

PRELUDE = """
import os, resource, threading, time, zlib
from taximeter import _core

def scanner(content_type="application/json", **options):
    return _core.Scanner("openai", provider="openai", content_type=content_type, **options)

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

"""


def test_a_gzip_bomb_and_endless_usage_use_little_memory(run):
    outcome = run(
        PRELUDE
        + """
packer = zlib.compressobj(1, zlib.DEFLATED, 31)
bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(400)]) + packer.flush()
assert len(bomb) < 2_000_000
for content_type in ("application/json", "text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"):
    before, one = megabytes(), scanner(content_type, gzip=True)
    one.feed(bomb)
    assert one.finish()["gap"] == "usage_malformed", content_type
    assert megabytes() - before < 200, (content_type, megabytes() - before)

body = b'{"usage":{' + b",".join(b'"k%d":1' % n for n in range(1_000_000)) + b"}}"
for field in (b"usage", b"id", b"tools", b"choices", b"response", b"candidates", b"delta"):
    before, one = megabytes(), scanner()
    one.feed(body.replace(b"usage", field, 1))
    found = one.finish()
    assert found["usage_status"] == "missing"
    # The body itself, and the buffer that it grew into.
    assert megabytes() - before < 3.2 * len(body) / (1 << 20), (field, megabytes() - before)
one = scanner()
one.feed(body)
assert one.finish()["gap"] == "usage_malformed"
assert _core.normalize_usage(body.decode()[9:-1]) is None
"""
    )
    assert outcome.returncode == 0


def test_reading_a_large_body_releases_the_gil(run):
    outcome = run(
        PRELUDE
        + """
body = b'{"data":[' + b",".join([b"[0.123,4,5]"] * 2_500_000) + b'],"usage":{"prompt_tokens":3}}'
seen, ended = [0.0], False
def tick():
    while not ended:
        now = time.perf_counter()
        if now - seen[-1] > 0.001:
            seen.append(now)
thread = threading.Thread(target=tick)
thread.start()
# Several tries, because other processes may use the processors.
for _ in range(5):
    one = scanner()
    for at in range(0, len(body), 1 << 20):
        one.feed(body[at : at + (1 << 20)])
    began = time.perf_counter()
    found = one.finish()
    took = time.perf_counter() - began
    assert found["usage"] == {"input_tokens": 3}, found
    in_the_midst = [at for at in seen if began + took / 4 < at < began + took * 3 / 4]
    if in_the_midst:
        break
ended = True
thread.join()
print(bool(in_the_midst))
"""
    )
    assert outcome.stdout == "True\n"


def test_out_of_memory_makes_usage_missing_and_ends_no_process(run):
    outcome = run(
        PRELUDE
        + """
piece = b" " * (1 << 20)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20), resource.RLIM_INFINITY))
one = scanner()
for _ in range(150):
    assert one.feed(piece) is None
assert one.finish()["gap"] == "usage_malformed"
small = scanner()
small.feed(b'{"usage":{"prompt_tokens":3}}')
assert small.finish()["usage"] == {"input_tokens": 3}
print("alive")
"""
    )
    assert outcome.stdout == "alive\n"


@pytest.mark.parametrize("shape", ["first", "later"])
def test_a_child_forked_while_another_thread_reads_does_not_hang(run, shape):
    outcome = run(
        PRELUDE
        + f"""
shape = {shape!r}
stream = b'data: {{"model":"m","choices":[{{"delta":{{"content":"a"}}}}],"usage":null}}\\n\\n' * 3000

def read():
    one = scanner("text/event-stream")
    one.feed(stream)
    assert one.finish()["model"] == "m"

if shape == "later":
    read()
threads = [threading.Thread(target=lambda: [read() for _ in range(20)]) for _ in range(3)]
children = []
for thread in threads:
    thread.start()
    for _ in range(4):
        child = os.fork()
        if child == 0:
            read()
            os._exit(0)
        children.append(child)
deadline = time.monotonic() + 30
for child in children:
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline, "a child hangs"
        time.sleep(0.01)
for thread in threads:
    thread.join()
print("done")
"""
    )
    assert outcome.stdout == "done\n"


def test_a_response_that_was_read_is_scanned_at_once():
    """`first_token_ms` is a time, and differs."""
    body = json.dumps({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}).encode()
    fed = _core.Scanner("openai", provider="openai", content_type="application/json")
    fed.feed(body)
    at_once = _core.Scanner("openai", provider="openai", content_type="application/json", data=body)
    assert {**at_once.finish(), "first_token_ms": 0} == {**fed.finish(), "first_token_ms": 0}


def test_header_values_are_found_in_any_case():
    raw = [
        (b"X", b"\xff"),
        (b"Content-Type", b"a/b"),
        (b"content-encoding", b"GZIP"),
        (b"Content-Encoding", b"br "),
        (b"x-gemini-service-tier", b"FLEX"),
    ]
    assert _core.header_values(raw) == ("a/b", "gzip, br", "flex")
    assert _core.header_values([]) == ("", "", "")
    with pytest.raises(TypeError):
        _core.header_values([("content-type", "a/b")])

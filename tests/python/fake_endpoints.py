"""A fake provider with further endpoints: images, audio, legacy completions, decisions, deferred responses and interactions.

All usage counts are distinct primes, so that a count in the wrong field is noticed.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from fake_families import FakeFamilies, Families, _aws, _base64
from fake_provider import WORDS

IMAGES = {
    "input_tokens": 503, "output_tokens": 509, "total_tokens": 1012,
    "input_tokens_details": {"text_tokens": 492, "image_tokens": 11}, "output_tokens_details": {"text_tokens": 0, "image_tokens": 509},
}  # fmt: skip
TRANSCRIPT = {
    "type": "tokens", "input_tokens": 521, "output_tokens": 523, "total_tokens": 1044,
    "input_token_details": {"text_tokens": 8, "audio_tokens": 513},
}  # fmt: skip
COMPLETION = {"prompt_tokens": 541, "completion_tokens": 547, "total_tokens": 1088}
RESPONSE = {
    "input_tokens": 557, "output_tokens": 563, "total_tokens": 1120, "input_tokens_details": {"cached_tokens": 113, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 127},
}  # fmt: skip
BATCH = {
    "input_tokens": 569, "output_tokens": 571, "total_tokens": 1140, "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip
ROW = {"input_tokens": 577, "output_tokens": 587, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
INTERACTION = {
    "total_input_tokens": 593, "total_output_tokens": 599, "total_thought_tokens": 601, "total_cached_tokens": 131,
    "total_tool_use_tokens": 0, "total_tokens": 593 + 599 + 601,
}  # fmt: skip
ROWS = 5


class Endpoints(Families):
    def do_POST(self) -> None:
        if not self.path.endswith(("/transcriptions", "/translations")):
            return super().do_POST()
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.fake.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, raw))
        if b"whisper" in raw:
            return self._answered("whisper-1", {"text": "rain", "usage": {"type": "duration", "seconds": 7.5}})
        if b'name="stream"' not in raw:
            return self._answered("gpt-4o-transcribe", {"text": "rain", "usage": TRANSCRIPT})
        return self._stream(self._transcript(), "gpt-4o-transcribe", TRANSCRIPT)

    def do_GET(self) -> None:
        self.fake.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, b""))
        kind, _, name = self.path.partition("?")[0].rpartition("/")
        if name == "results":
            return self._results()
        if kind.endswith("/batches"):
            status = "completed" if "done" in name else "in_progress"
            usage = BATCH if "done" in name else {**BATCH, "input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
            batch = {
                "id": name, "object": "batch", "completion_window": "24h", "created_at": 1, "endpoint": "/v1/responses",
                "input_file_id": "f", "status": status, "model": "gpt-4.1", "usage": usage,
            }  # fmt: skip
            return self._json(batch)
        if kind.endswith("/interactions"):
            return self._json({**_interaction("completed"), "id": name, "usage": INTERACTION})
        background = "stored" not in name
        state = "in_progress" if self.fake.failures[name] < 1 and background else "completed"
        self.fake.failures[name] += 1
        return self._json(_response(name, state, background=background))

    def answer(self, body: dict) -> None:
        path = self.path.partition("?")[0]
        model = str(body.get("model"))
        end = path.rpartition("/")[2]
        if path.endswith("/images/generations"):
            if body.get("stream"):
                return self._stream(self._images(), model, IMAGES)
            return self._answered(model, {"created": 1, "data": [{"b64_json": "aGk="}], "usage": IMAGES})
        if end == "speech":
            self._bill(model, {})
            return self._send(b"\xff\xf3 sound", "audio/mpeg")
        if path.endswith("/completions") and "/chat" not in path:
            return self._completion(model, body)
        if end == "decisions":
            answer = {"answers": [{"type": "predicate", "name": "q", "probability": 0.5}], "model": model, "usage": RESPONSE}
            return self._answered(model, answer)
        if end == "responses" and body.get("background"):
            return self._json(_response(f"resp_{model}", "queued", background=True))
        if end == "responses" and "tools" in model:
            return self._answered(model, _with_tools(model))
        if end == "responses":
            return self._responses(body)
        if end == "interactions":
            return self._interaction(model, body)
        if ":" in end or end.startswith("invoke"):
            return self._claude(path, body)
        return super().answer(body)

    def _claude(self, path: str, body: dict) -> None:
        """Answer as Anthropic's model on Vertex, with its name in the path, or on Bedrock, which streams in its own frames."""
        self.path = "/v1/messages"
        body = {**body, "model": "claude-sonnet-5"}
        if not path.endswith("-with-response-stream"):
            return super().answer(body)
        self._stream_to, self._stream = self._stream, self._framed
        return super().answer({**body, "stream": True})

    def _framed(self, events: Iterator[str], model: str, usage: dict) -> None:
        self._stream = self._stream_to
        frames = (_aws("chunk", {"bytes": _base64(event.partition("data: ")[2].strip())}) for event in events)
        self._stream(frames, model, usage, "application/vnd.amazon.eventstream")

    def _answered(self, model: str, answer: dict) -> None:
        self._bill(model, answer["usage"])
        self._json(answer)

    def _completion(self, model: str, body: dict) -> None:
        base = {"id": "c", "object": "text_completion", "created": 1, "model": model}
        if not body.get("stream"):
            choice = {"index": 0, "text": "".join(WORDS), "finish_reason": "stop", "logprobs": None}
            return self._answered(model, {**base, "choices": [choice], "usage": COMPLETION})

        def events() -> Iterator[str]:
            for word in WORDS:
                yield _data({**base, "choices": [{"index": 0, "text": word, "finish_reason": None, "logprobs": None}]})
            yield _data({**base, "choices": [], "usage": COMPLETION})
            yield "data: [DONE]\n\n"

        return self._stream(events(), model, COMPLETION)

    def _images(self) -> Iterator[str]:
        base = {
            "b64_json": "aGk=",
            "created_at": 1,
            "background": "opaque",
            "output_format": "png",
            "quality": "low",
            "size": "1024x1024",
        }
        yield _data({"type": "image_generation.partial_image", "partial_image_index": 0, **base})
        yield _data({"type": "image_generation.completed", "usage": IMAGES, **base})

    def _transcript(self) -> Iterator[str]:
        for word in WORDS:
            yield _data({"type": "transcript.text.delta", "delta": word})
        yield _data({"type": "transcript.text.done", "text": "".join(WORDS), "usage": TRANSCRIPT})

    def _results(self) -> None:
        rows = []
        for number in range(ROWS):
            message = {
                "id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [],
                "stop_reason": "end_turn", "stop_sequence": None, "usage": ROW,
            }  # fmt: skip
            rows.append({"custom_id": f"r{number}", "result": {"type": "succeeded", "message": message}})
        rows.append(
            {"custom_id": "failed", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "api_error"}}}}
        )
        body = "\n".join(map(json.dumps, rows)).encode()
        self._send(body, "application/x-jsonl", compress="zipped" in self.path)

    def _interaction(self, model: str, body: dict) -> None:
        if body.get("background"):
            return self._json({**_interaction("in_progress"), "id": f"i-{model}"})
        if not body.get("stream"):
            return self._answered(model, {**_interaction("completed"), "model": model, "usage": INTERACTION})

        def events() -> Iterator[str]:
            yield _named({"event_type": "interaction.created", "interaction": {**_interaction("in_progress"), "model": model}})
            yield _named({"event_type": "step.start", "index": 0, "step": {"type": "model_output"}})
            for word in WORDS:
                yield _named({"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": word}})
            whole = {**_interaction("completed"), "model": model, "usage": INTERACTION}
            yield _named({"event_type": "interaction.completed", "interaction": whole})

        return self._stream(events(), model, INTERACTION)


class FakeEndpoints(FakeFamilies):
    handler = Endpoints


def _data(data: dict) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _named(data: dict) -> str:
    return f"event: {data['event_type']}\ndata: {json.dumps(data)}\n\n"


def _interaction(status: str) -> dict:
    times = {"created": "2026-11-22T00:00:00Z", "updated": "2026-11-22T00:00:01Z"}
    return {"id": "i", "object": "interaction", "status": status, "steps": [], **times}


def _response(name: str, status: str, *, background: bool) -> dict:
    usage = RESPONSE if status == "completed" else None
    return {
        "id": name, "object": "response", "created_at": 1, "model": "gpt-4.1", "output": [], "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "status": status, "error": None, "incomplete_details": None, "instructions": None,
        "metadata": {}, "temperature": 1, "top_p": 1, "background": background, "usage": usage,
    }  # fmt: skip


def _with_tools(model: str) -> dict:
    details = {"image_tokens": 0, "text_tokens": 607}
    image = {
        "input_tokens": 607, "input_tokens_details": details, "output_tokens": 613, "total_tokens": 1220,
        "output_tokens_details": {"image_tokens": 613, "text_tokens": 0},
    }  # fmt: skip
    tools = [{"type": "image_generation", "model": "gpt-image-1"}, {"type": "web_search"}]
    whole = {**_response("resp_tools", "completed", background=False), "model": model, "tools": tools}
    return {**whole, "tool_usage": {"image_gen": image, "web_search": {"num_requests": 3}}}


@contextlib.contextmanager
def socket_server(answer: Callable[[Any], None], scheme: str = "ws", **options: Any) -> Iterator[str]:
    """Run a server of web sockets, and yield its URL. `answer` is called with each connection."""
    from websockets.sync.server import serve

    with serve(answer, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"{scheme}://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()

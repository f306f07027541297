"""A fake provider on 127.0.0.1 that answers like OpenAI and Anthropic, and records what it billed.

The quickstart and the tests use it, so that no call leaves the host. The model's name selects the behaviour. If it contains `cut`, a
stream breaks off; `error` answers with status 400; `flaky` fails twice first; `nousage` reports no usage; `everychunk` reports usage
in every chunk; `html` answers with a web page; `gzip` compresses the response; `tools` calls the first tool once. All usage counts
are distinct primes, so that a count in the wrong field is noticed.
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OPENAI_USAGE = {
    "prompt_tokens": 1009,
    "completion_tokens": 307,
    "total_tokens": 1316,
    "prompt_tokens_details": {"cached_tokens": 503},
    "completion_tokens_details": {"reasoning_tokens": 101},
}
RESPONSES_USAGE = {
    "input_tokens": 1013,
    "output_tokens": 311,
    "total_tokens": 1324,
    "input_tokens_details": {"cached_tokens": 509},
    "output_tokens_details": {"reasoning_tokens": 103},
}
ANTHROPIC_USAGE = {
    "input_tokens": 211,
    "output_tokens": 53,
    "cache_creation_input_tokens": 101,
    "cache_read_input_tokens": 709,
    "cache_creation": {"ephemeral_5m_input_tokens": 101, "ephemeral_1h_input_tokens": 0},
}
WORDS = ("The", " meter", " is", " running", ".")


class FakeProvider:
    """The server. Use it as a context manager, and point clients to its `url`."""

    handler: type[Handler]

    def __init__(self) -> None:
        self.billed: list[dict[str, Any]] = []
        """The model and the usage of each answered request."""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """The path, headers and body of each request."""
        self.failures: Counter[str] = Counter()
        provider = self

        class Own(self.handler):
            fake = provider

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeProvider:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    fake: FakeProvider
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.fake.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, raw))
        self.answer(json.loads(raw))

    def answer(self, body: dict[str, Any]) -> None:
        """Answer one request. Its path is `self.path`."""
        model = body["model"]
        if "flaky" in model and self.fake.failures[model] < 2:
            self.fake.failures[model] += 1
            return self._json({"error": {"message": "try again", "type": "server_error"}}, status=503)
        if "error" in model or ("stream_options" in body and "strict" in model):
            return self._json({"error": {"message": "no", "type": "invalid_request_error"}}, status=400)
        if "html" in model:
            return self._send(b"<html>busy</html>", "text/html")
        path = self.path.partition("?")[0]
        if path.endswith("/messages"):
            return self._anthropic(body)
        if path.endswith("/responses"):
            return self._responses(body)
        if path.endswith("/embeddings"):
            usage = {"prompt_tokens": 17, "total_tokens": 17}
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
            return self._answer({"object": "list", "model": model, "data": data}, usage)
        return self._chat(body)

    def _chat(self, body: dict[str, Any]) -> None:
        model = body["model"]
        base = {"id": "chatcmpl-1", "created": 1, "model": model}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            return self._answer({**base, "object": "chat.completion", "choices": [choice]}, OPENAI_USAGE)
        asked = (body.get("stream_options") or {}).get("include_usage")

        def events() -> Iterator[str]:
            chunk = {**base, "object": "chat.completion.chunk"}
            usage = {"usage": OPENAI_USAGE if "everychunk" in model else None} if asked or "everychunk" in model else {}
            for number, word in enumerate(WORDS):
                delta = {"content": word} | ({"role": "assistant"} if number == 0 else {})
                yield f"data: {json.dumps({**chunk, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}], **usage})}\n\n"
            yield f"data: {json.dumps({**chunk, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}], **usage})}\n\n"
            if asked:
                yield f"data: {json.dumps({**chunk, 'choices': [], 'usage': OPENAI_USAGE})}\n\n"
            yield "data: [DONE]\n\n"

        self._stream(events(), model, OPENAI_USAGE)

    def _responses(self, body: dict[str, Any]) -> None:
        model = body["model"]
        status = "incomplete" if "incomplete" in model else "completed"
        text = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
        item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
        base = {
            "id": "resp_1", "object": "response", "created_at": 1, "model": model, "output": [item], "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": [], "status": status, "error": None, "incomplete_details": None, "instructions": None,
            "metadata": {}, "temperature": 1, "top_p": 1,
        }  # fmt: skip
        if not body.get("stream"):
            return self._answer(base, RESPONSES_USAGE)

        def events() -> Iterator[str]:
            created = {
                "type": "response.created",
                "sequence_number": 0,
                "response": {**base, "output": [], "usage": None},
            }
            yield f"event: response.created\ndata: {json.dumps(created)}\n\n"
            started = {**item, "status": "in_progress", "content": []}
            part = {"type": "output_text", "text": "", "annotations": []}
            place = {"sequence_number": 1, "output_index": 0}
            for kind, more in (
                ("response.output_item.added", {"item": started}),
                ("response.content_part.added", {"item_id": "msg_1", "content_index": 0, "part": part}),
            ):
                yield f"event: {kind}\ndata: {json.dumps({'type': kind, **place, **more})}\n\n"
            for number, word in enumerate(WORDS, 2):
                delta = {
                    "type": "response.output_text.delta",
                    "sequence_number": number,
                    "item_id": "msg_1",
                    "output_index": 0,
                }
                delta |= {"content_index": 0, "delta": word, "logprobs": []}
                yield f"event: response.output_text.delta\ndata: {json.dumps(delta)}\n\n"
            kind = f"response.{status}"
            final = {"type": kind, "sequence_number": 9, "response": {**base, "usage": RESPONSES_USAGE}}
            yield f"event: {kind}\ndata: {json.dumps(final)}\n\n"

        self._stream(events(), model, RESPONSES_USAGE)

    def _anthropic(self, body: dict[str, Any]) -> None:
        model = body["model"]
        base = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
        if "tools" in model and not any(isinstance(one["content"], list) for one in body["messages"]):
            use = {"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": {"city": "Bern"}}
            return self._answer({**base, "content": [use], "stop_reason": "tool_use"}, ANTHROPIC_USAGE)
        if not body.get("stream"):
            content = [{"type": "text", "text": "".join(WORDS)}]
            return self._answer({**base, "content": content, "stop_reason": "end_turn"}, ANTHROPIC_USAGE)

        def events() -> Iterator[str]:
            start = {**base, "content": [], "stop_reason": None, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}
            yield _event({"type": "message_start", "message": start})
            yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
            for word in WORDS:
                yield _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
            yield _event({"type": "content_block_stop", "index": 0})
            delta = {"stop_reason": "end_turn", "stop_sequence": None}
            usage = {"output_tokens": ANTHROPIC_USAGE["output_tokens"]}
            yield _event({"type": "message_delta", "delta": delta, "usage": usage})
            yield _event({"type": "message_stop"})

        self._stream(events(), model, ANTHROPIC_USAGE)

    def _answer(self, answer: dict[str, Any], usage: dict[str, Any]) -> None:
        model = answer["model"]
        self.fake.billed.append({"model": model, "usage": usage})
        self._json(answer if "nousage" in model else {**answer, "usage": usage}, compress="gzip" in model)

    def _json(self, answer: dict[str, Any], *, status: int = 200, compress: bool = False) -> None:
        self._send(json.dumps(answer).encode(), "application/json", status=status, compress=compress)

    def _send(
        self, body: bytes, content_type: str, *, status: int = 200, compress: bool = False, headers: dict[str, object] | None = None
    ) -> None:
        body = gzip.compress(body) if compress else body
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        if compress:
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def _stream(
        self,
        events: Iterator[str] | Iterator[bytes],
        model: str,
        usage: dict[str, Any],
        content_type: str = "text/event-stream; charset=utf-8",
    ) -> None:
        self.fake.billed.append({"model": model, "usage": usage})
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        if "gzip" in model:
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        # A window of 31 makes zlib write the gzip format. Flushing after each event sends it to the reader at once.
        compressor = zlib.compressobj(wbits=31) if "gzip" in model else None
        try:
            for number, event in enumerate(events):
                data = event.encode() if isinstance(event, str) else event
                if "cut" in model and number == 3:
                    self.close_connection = True
                    return
                self._pieces(compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH) if compressor else data)
            if compressor:
                self._pieces(compressor.flush())
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # the client closed the connection
            self.close_connection = True

    def _pieces(self, data: bytes) -> None:
        """Send chunks of seven bytes, so that events and characters arrive in pieces."""
        for start in range(0, len(data), 7):
            piece = data[start : start + 7]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


FakeProvider.handler = Handler


def _event(data: dict[str, Any]) -> str:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n"


if __name__ == "__main__":
    with FakeProvider() as server:
        print(server.url, flush=True)
        threading.Event().wait()

"""A fake provider on loopback for the benches, in its own process: `python stream_server.py`. It prints its port.

`/v1/chat/completions` answers with a chat, or streams `max_tokens` chunks and their usage.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {
    "prompt_tokens": 1009,
    "completion_tokens": 307,
    "total_tokens": 1316,
    "prompt_tokens_details": {"cached_tokens": 503},
    "completion_tokens_details": {"reasoning_tokens": 101},
}
BASE = {"id": "c", "created": 1, "model": "gpt-4o"}


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"
    # Headers and body in one packet, sent at once. Else a call takes 40 ms longer: its client acknowledges the headers that late.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Answer one request."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not body.get("stream"):
            message = {"role": "assistant", "content": "The meter is running."}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            self._send(
                "application/json", json.dumps({**BASE, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
            )
            return
        chunk = {**BASE, "object": "chat.completion.chunk"}
        choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
        one = f"data: {json.dumps({**chunk, 'choices': [choice], 'usage': None})}\n\n".encode()
        last = f"data: {json.dumps({**chunk, 'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n".encode()
        self._send("text/event-stream", one, body["max_tokens"], last)

    def _send(self, kind: str, part: bytes, times: int = 1, last: bytes = b"") -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(part) * times + len(last)))
        self.end_headers()
        try:
            for _ in range(times):
                self.wfile.write(part)
            self.wfile.write(last)
        except OSError:  # the client closed the connection
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """Handles each connection in its own thread."""

    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_: object) -> None:
        """Ignore errors, because the benches close connections early."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()

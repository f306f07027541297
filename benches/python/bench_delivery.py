"""Delivery over HTTP to a sink in another process, the producer included."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

import taximeter

# Takes whole requests and answers 200, without looking at them: the figure is the sender's.
SINK = """
import socket, threading
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def serve(connection):
    data = b""
    while True:
        while b"\\r\\n\\r\\n" not in data:
            piece = connection.recv(1 << 20)
            if not piece:
                return
            data += piece
        head, _, rest = data.partition(b"\\r\\n\\r\\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length"))
        missing = length - len(rest)
        while missing > 0:
            missing -= len(connection.recv(min(missing, 1 << 20)))
        data = rest[length:]
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
while True:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"""
EVENTS = 400_000


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as state,
        subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as sink,
    ):
        try:
            url = f"cloudevents+http://127.0.0.1:{int(sink.stdout.readline())}/"
            meter = taximeter.Meter(destination=url, state_dir=state, budget_mb=512)
            track, tags = meter.track, {"plan": "pro", "env": "prod", "region": "eu"}
            for _ in range(1000):
                track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350)
            meter.flush(10)
            used = resource.getrusage(resource.RUSAGE_SELF)
            begin = time.perf_counter()
            for _ in range(EVENTS):
                track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, feature="chat", team="acme", tags=tags)
            tracked = time.perf_counter() - begin
            report = meter.flush(120)
            took = time.perf_counter() - begin
            now = resource.getrusage(resource.RUSAGE_SELF)
            processor = (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / EVENTS * 1e6
            assert report.pending == 0, meter.stats()
            print(f"track() to the sink's 200: {EVENTS / took:,.0f} events/s ({EVENTS:,} tracked in {tracked:.2f} s)")
            print(f"processor time of the whole process: {processor:.2f} µs an event")
            meter.close()
        finally:
            sink.kill()


if __name__ == "__main__":
    os.environ.pop("TAXIMETER_DESTINATION", None)
    main()

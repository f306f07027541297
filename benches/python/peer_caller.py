"""One caller of the bench of peers, in its own process: `python peer_caller.py KIND PORT SINK`.

It instruments the OpenAI client in the way that the peer's own guide shows, with its exporter on, and makes calls on command. It
reads `WHAT TIMES` from its input, and answers with the processor time of one call in microseconds: of the caller's thread, and of the
whole process since the answer before, so that what a background thread does later is counted too.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

QUESTION: Any = [{"role": "user", "content": "q"}]
CONCURRENT = 100
CHUNKS = 200
Flush = Callable[[], object]


def _nothing() -> None:
    """Flush nothing."""


def bare(_sink: str) -> Flush:
    return _nothing


def taximeter(_sink: str) -> Flush:
    """Write to the ledger in the state directory, as by default."""
    import taximeter

    taximeter.init()
    return lambda: taximeter.flush(60)


def _provider(sink: str) -> Any:
    """Return a tracer provider as OpenTelemetry's guide has it: spans go in batches to a collector over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{sink}/v1/traces")))
    return provider


def opentelemetry(sink: str) -> Flush:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    provider = _provider(sink)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return provider.force_flush


def openinference(sink: str) -> Flush:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    provider = _provider(sink)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return provider.force_flush


def openllmetry(sink: str) -> Flush:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    provider = _provider(sink)
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return provider.force_flush


def langfuse(sink: str) -> Flush:
    from langfuse import Langfuse

    own = Langfuse(public_key="pk-lf-1", secret_key="sk-lf-1", base_url=sink)
    importlib.import_module("langfuse.openai")  # wraps the client's methods
    return own.flush


def logfire(sink: str) -> Flush:
    import logfire

    own = logfire.AdvancedOptions(base_url=sink)
    logfire.configure(token="t", console=False, send_to_logfire=True, inspect_arguments=False, metrics=False, advanced=own)
    logfire.instrument_openai()
    return logfire.force_flush


KINDS = {kind.__name__: kind for kind in (bare, taximeter, opentelemetry, openinference, langfuse, logfire, openllmetry)}


def main() -> None:
    kind, port, sink = sys.argv[1:]
    flush = KINDS[kind](f"{sink}/{kind}")
    import openai

    address = f"http://127.0.0.1:{port}/v1"
    client = openai.OpenAI(api_key="k", base_url=address, max_retries=0)
    concurrent = openai.AsyncOpenAI(api_key="k", base_url=address, max_retries=0)
    loop = asyncio.new_event_loop()
    asked: Any = {"model": "gpt-4o", "messages": QUESTION}
    streamed: Any = {**asked, "stream": True, "max_tokens": CHUNKS, "stream_options": {"include_usage": True}}

    def plain() -> None:
        client.chat.completions.create(**asked)

    def stream() -> None:
        for _ in client.chat.completions.create(**streamed):
            pass

    async def all_at_once() -> None:
        await asyncio.gather(*(concurrent.chat.completions.create(**asked) for _ in range(CONCURRENT)))

    def together() -> None:
        loop.run_until_complete(all_at_once())

    calls: dict[str, Callable[[], object]] = {"plain": plain, "stream": stream, "async": together, "flush": flush}
    process = time.process_time()
    print("ready", flush=True)
    for line in sys.stdin:
        what, times = line.split()
        call, count = calls[what], int(times)
        thread = time.thread_time()
        for _ in range(count):
            call()
        thread = time.thread_time() - thread
        before, process = process, time.process_time()
        each = count * (CONCURRENT if what == "async" else 1) / 1e6
        print(thread / each, (process - before) / each, flush=True)


if __name__ == "__main__":
    main()

"""A fake provider that also answers like Gemini, Cohere, Ollama, Mistral, Groq, Together and Bedrock.

All usage counts are distinct primes, so that a count in the wrong field is noticed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator

from fake_provider import WORDS, FakeProvider, Handler

CHAT = {"prompt_tokens": 401, "completion_tokens": 409, "total_tokens": 810}
GEMINI = {
    "promptTokenCount": 419, "candidatesTokenCount": 421, "thoughtsTokenCount": 431, "cachedContentTokenCount": 211,
    "toolUsePromptTokenCount": 23, "totalTokenCount": 419 + 421 + 431 + 23,
}  # fmt: skip
COHERE = {"billed_units": {"input_tokens": 433.0, "output_tokens": 439.0}, "tokens": {"input_tokens": 997.0, "output_tokens": 439.0}}
OLLAMA = {"prompt_eval_count": 443, "eval_count": 449}
CONVERSE = {
    "inputTokens": 457, "outputTokens": 461, "totalTokens": 457 + 461 + 463 + 467,
    "cacheReadInputTokens": 463, "cacheWriteInputTokens": 467, "cacheDetails": [{"ttl": "1h", "inputTokens": 467}],
}  # fmt: skip
INVOKE = {"input_tokens": 479, "output_tokens": 487, "cache_read_input_tokens": 491, "cache_creation_input_tokens": 499,
          "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 499}}  # fmt: skip


class Families(Handler):
    def answer(self, body: dict) -> None:
        path = self.path.partition("?")[0]
        model = str(body.get("model") or body.get("agent_id") or path)
        if model.startswith(("gpt", "claude", "text-embedding")) and not path.startswith("/model/"):
            return super().answer(body)
        if "flaky" in model and self.fake.failures[model] < 2:
            self.fake.failures[model] += 1
            return self._json({"message": "busy"}, status=503)
        if "error" in model:
            return self._json({"error": {"message": "no", "code": 400, "status": "INVALID_ARGUMENT"}, "message": "no"}, status=400)
        if "html" in model:
            return self._send(b"<html>busy</html>", "text/html")
        if ":" in path and "/models/" in path:
            return self._gemini(path, body)
        if path.startswith("/api/"):
            return self._ollama(path, body)
        if path.startswith("/model/"):
            return self._bedrock(path, body)
        end = path.rpartition("/")[2]
        if end in {"chat", "embed", "rerank"}:
            return self._cohere(path, end, body)
        if end == "embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
            answer = {"id": "e", "object": "list", "model": model, "data": data}
            return self._answer(answer, {"prompt_tokens": 17, "total_tokens": 17})
        return self._openai(body)

    def _bill(self, model: str, usage: dict) -> None:
        self.fake.billed.append({"model": model, "usage": usage})

    def _openai(self, body: dict) -> None:
        model = body.get("model") or body["agent_id"]
        base = {"id": "c", "created": 1, "model": model}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            return self._answer({**base, "object": "chat.completion", "choices": [choice]}, CHAT)

        def events() -> Iterator[str]:
            chunk = {**base, "object": "chat.completion.chunk"}
            for number, word in enumerate((*WORDS, "")):
                is_last = number == len(WORDS)
                choice = {"index": 0, "delta": {"content": word, "role": "assistant"}, "finish_reason": "stop" if is_last else None}
                usage = {} if not is_last else {"x_groq": {"id": "g", "usage": CHAT}} if "groq" in model else {"usage": CHAT}
                yield f"data: {json.dumps({**chunk, 'choices': [choice], **usage})}\n\n"
            yield "data: [DONE]\n\n"

        self._stream(events(), model, CHAT)

    def _gemini(self, path: str, body: dict) -> None:
        model, _, method = path.rpartition("/")[2].partition(":")
        if "mbed" in method:
            self._bill(model, {})
            vector = {"values": [0.5, 0.25]}
            usage = {"usageMetadata": {"promptTokenCount": 19, "totalTokenCount": 19}}
            return self._json({"embeddings": [vector], "embedding": vector, **usage})
        calls = any(tool.get("functionDeclarations") for tool in body.get("tools", []))
        answered = any("functionResponse" in part for content in body["contents"] for part in content["parts"])

        def candidate(text: str, *, is_last: bool) -> dict:
            part = {"functionCall": {"name": "weather", "args": {"city": "Bern"}}} if calls and not answered else {"text": text}
            finished = {"finishReason": "STOP"} if is_last else {}
            return {"content": {"role": "model", "parts": [part]}, "index": 0, **finished}

        if method == "generateContent":
            self._bill(model, GEMINI)
            answer = {"candidates": [candidate("".join(WORDS), is_last=True)], "usageMetadata": GEMINI, "modelVersion": model}
            return self._json(answer)

        def answers() -> Iterator[str]:
            for number, word in enumerate(WORDS):
                is_last = number == len(WORDS) - 1
                usage = GEMINI if is_last else {"promptTokenCount": 419, "totalTokenCount": 419}
                yield json.dumps({"candidates": [candidate(word, is_last=is_last)], "usageMetadata": usage, "modelVersion": model})

        if "alt=sse" in self.path:
            return self._stream((f"data: {answer}\r\n\r\n" for answer in answers()), model, GEMINI)
        return self._stream(iter(["[", ",\r\n".join(answers()), "]"]), model, GEMINI, "application/json")

    def _cohere(self, path: str, end: str, body: dict) -> None:
        model = body["model"]
        if end == "embed":
            billed = {"billed_units": {"input_tokens": 29.0}}
            self._bill(model, billed)
            vectors = {"float": [[0.5, 0.25]]}
            kind = {"response_type": "embeddings_by_type"}
            return self._json(
                {"id": "c", "embeddings": vectors, "texts": ["x"], "meta": {**billed, "api_version": {"version": "2"}}, **kind}
            )
        if end == "rerank":
            billed = {"billed_units": {"search_units": 2.0}}
            self._bill(model, billed)
            return self._json({"id": "c", "results": [{"index": 0, "relevance_score": 0.5}], "meta": billed})
        is_second = path.startswith("/v2")
        if not body.get("stream"):
            self._bill(model, COHERE)
            content = [{"type": "text", "text": "".join(WORDS)}]
            second = {"message": {"role": "assistant", "content": content}, "usage": COHERE}
            first = {"text": "".join(WORDS), "generation_id": "g", "meta": COHERE}
            return self._json({"id": "c", "finish_reason": "COMPLETE", **(second if is_second else first)})
        if is_second:

            def events() -> Iterator[str]:
                yield _event({"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}})
                for word in WORDS:
                    yield _event({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}})
                yield _event({"type": "message-end", "id": "c", "delta": {"finish_reason": "COMPLETE", "usage": COHERE}})

            return self._stream(events(), model, COHERE)

        def lines() -> Iterator[str]:
            yield json.dumps({"is_finished": False, "event_type": "stream-start", "generation_id": "g"}) + "\n"
            for word in WORDS:
                yield json.dumps({"is_finished": False, "event_type": "text-generation", "text": word}) + "\n"
            response = {"text": "".join(WORDS), "generation_id": "g", "finish_reason": "COMPLETE", "meta": COHERE}
            end = {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": response}
            yield json.dumps(end) + "\n"

        return self._stream(lines(), model, COHERE, "application/stream+json")

    def _ollama(self, path: str, body: dict) -> None:
        model = body["model"]
        base = {"model": model, "created_at": "2026-11-22T00:00:00Z"}
        if "embed" in path:
            self._bill(model, {"prompt_eval_count": 31})
            return self._json({"model": model, "embeddings": [[0.5]], "prompt_eval_count": 31})

        def part(text: str) -> dict:
            return {"message": {"role": "assistant", "content": text}} if path.endswith("chat") else {"response": text}

        last = {**base, "done": True, "done_reason": "stop", **OLLAMA}
        if not body.get("stream"):
            self._bill(model, OLLAMA)
            return self._json({**last, **part("".join(WORDS))})

        def lines() -> Iterator[str]:
            for word in WORDS:
                yield json.dumps({**base, **part(word), "done": False}) + "\n"
            yield json.dumps({**last, **part("")}) + "\n"

        return self._stream(lines(), model, OLLAMA, "application/x-ndjson")

    def _bedrock(self, path: str, body: dict) -> None:
        from urllib.parse import unquote

        _, _, model, action = unquote(path).split("/")
        if action == "converse":
            self._bill(model, CONVERSE)
            message = {"role": "assistant", "content": [{"text": "".join(WORDS)}]}
            answer = {"output": {"message": message}, "stopReason": "end_turn", "usage": CONVERSE, "metrics": {"latencyMs": 7}}
            return self._json(answer)
        if action == "converse-stream":

            def converse() -> Iterator[bytes]:
                yield _aws("messageStart", {"role": "assistant"})
                for word in WORDS:
                    yield _aws("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
                yield _aws("messageStop", {"stopReason": "end_turn"})
                yield _aws("metadata", {"usage": CONVERSE, "metrics": {"latencyMs": 7}})

            return self._stream(converse(), model, CONVERSE, "application/vnd.amazon.eventstream")
        if action == "invoke":
            self._bill(model, INVOKE)
            base = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn"}
            answer = {**base, "content": [{"type": "text", "text": "".join(WORDS)}], "usage": INVOKE}
            headers = {
                "x-amzn-bedrock-input-token-count": INVOKE["input_tokens"],
                "x-amzn-bedrock-output-token-count": INVOKE["output_tokens"],
                "x-amzn-bedrock-cache-read-input-token-count": INVOKE["cache_read_input_tokens"],
                "x-amzn-bedrock-cache-write-input-token-count": INVOKE["cache_creation_input_tokens"],
            }
            return self._send(json.dumps(answer).encode(), "application/json", headers=headers)

        def invoke() -> Iterator[bytes]:
            usage = {**INVOKE, "output_tokens": 1}
            start = {"type": "message_start", "message": {"model": "claude", "usage": usage}}
            metrics = {"inputTokenCount": INVOKE["input_tokens"], "outputTokenCount": INVOKE["output_tokens"]}
            delta = {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": INVOKE["output_tokens"]},
            }
            stop = {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}
            texts = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS]
            for message in (start, *texts, delta, stop):
                yield _aws("chunk", {"bytes": _base64(json.dumps(message))})

        return self._stream(invoke(), model, INVOKE, "application/vnd.amazon.eventstream")


class FakeFamilies(FakeProvider):
    handler = Families


def _event(data: dict) -> str:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n"


def _base64(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


def _aws(name: str, payload: dict, *, kind: str = ":event-type", message: str = "event") -> bytes:
    """Encode a message of Amazon's event stream."""
    headers = b""
    for header, value in ((kind, name), (":content-type", "application/json"), (":message-type", message)):
        headers += struct.pack("!B", len(header)) + header.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return whole + struct.pack("!I", zlib.crc32(whole))

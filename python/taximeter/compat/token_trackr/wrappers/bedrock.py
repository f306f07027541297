"""The wrapper around a client of Bedrock's runtime."""

from __future__ import annotations

import functools
import io
import json
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from .... import instrument
from ....instrument.shims import Forwarding
from ..client import TokenTrackrClient, get_client
from ._calls import Observed, stand_in, watch

__all__ = ["BedrockWrapper"]


class BedrockWrapper(Forwarding):
    """A wrapper around a client of Bedrock's runtime that records its calls.

    Args:
        bedrock_client: `boto3.client("bedrock-runtime")`, or aioboto3's.
        client: The client that records; the default client if not given.
    """

    def __init__(self, bedrock_client: Any, client: TokenTrackrClient | None = None) -> None:
        super().__init__(bedrock_client)
        self._client = client or get_client()
        instrument.hook(("botocore",))

    def invoke_model(self, modelId: str, body: Any, **kwargs: Any) -> Any:  # noqa: N803 - the provider's
        """Call the client's own method. The body is read for its usage, and can be read again."""
        return self._watch(self._inner.invoke_model, modelId, {"body": body, **kwargs})

    def invoke_model_with_response_stream(self, modelId: str, body: Any, **kwargs: Any) -> Any:  # noqa: N803
        """Call the client's own method. The call is recorded when the stream ends."""
        return self._watch(self._inner.invoke_model_with_response_stream, modelId, {"body": body, **kwargs})

    def converse(self, modelId: str, **kwargs: Any) -> Any:  # noqa: N803
        """Call the client's own method."""
        return self._watch(self._inner.converse, modelId, kwargs)

    def converse_stream(self, modelId: str, **kwargs: Any) -> Any:  # noqa: N803
        """Call the client's own method. The call is recorded when the stream ends."""
        return self._watch(self._inner.converse_stream, modelId, kwargs)

    def _watch(self, method: Callable[..., Any], model: str, kwargs: Mapping[str, Any]) -> Any:
        def call() -> Any:
            response = method(modelId=model, **kwargs)
            if isinstance(response, dict):
                _read_now(response)
            return response

        package = stand_in(self._inner, "botocore")
        observed = Observed(self._client, "bedrock", model, reports_cached=False, stand_in_for=package, read=_counts)
        return watch(observed, call, _request_id)


def _request_id(response: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"request_id": response.get("ResponseMetadata", {}).get("RequestId")}


def _read_now(response: dict[str, Any]) -> None:
    """Read a body for its usage, and replace it with one that can be read again.

    If the connection breaks, the error is raised here instead of in the caller's read.
    """
    module: Any = sys.modules.get("botocore.response")
    body: Any = response.get("body")
    if module is not None and type(body) is module.StreamingBody:
        content = body.read()
        response["body"] = module.StreamingBody(io.BytesIO(content), len(content))


_PLACES: Final = (
    (("usage", "input_tokens"), ("usage", "output_tokens")),
    (("usage", "inputTokens"), ("usage", "outputTokens")),
    (("usage", "prompt_tokens"), ("usage", "completion_tokens")),
    (("inputTextTokenCount",), ("results", 0, "tokenCount")),
    (("prompt_token_count",), ("generation_token_count",)),
    (("meta", "billed_units", "input_tokens"), ("meta", "billed_units", "output_tokens")),
)
"""Where the models of Bedrock report the tokens of the prompt and of the answer."""


def _counts(response: Mapping[str, Any]) -> tuple[int, int] | None:
    body: Any = response.get("body")
    if hasattr(body, "seek"):
        # The body can be read again.
        report = json.loads(body.read())
        body.seek(0)
    else:
        report = response
    for places in _PLACES:
        found = [_at(report, place) for place in places]
        if isinstance(found[0], int):
            return found[0], found[1] if isinstance(found[1], int) else 0
    return None


def _at(report: Any, place: tuple[str | int, ...]) -> Any:
    try:
        return functools.reduce(operator.getitem, place, report)
    except (KeyError, IndexError, TypeError):
        return None

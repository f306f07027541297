"""The wrapper around a client of Bedrock's runtime."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .... import instrument
from ....instrument.shims import Forwarding
from ..client import TokenTrackrClient, get_client
from ._calls import Observed, watch

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

        return watch(Observed(self._client, "bedrock", model, reports_cached=False), call, _request_id)


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

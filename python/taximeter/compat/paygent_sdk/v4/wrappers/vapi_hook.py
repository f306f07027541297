"""Puts Paygent's ids into the calls of Vapi's client. Vapi sends them to Paygent, which measures the calls itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..._client import log
from ..meta_tags import merge_meta_tags, tags_of

if TYPE_CHECKING:
    from ..models import LLMConfig, STSConfig, STTConfig, TTSConfig

__all__ = ["VapiPaygentHook"]

_HEADER: Final = {"X-Paygent-From-SDK": "true"}
_BODY: Final = "additional_body_parameters"
_HEADERS: Final = "additional_headers"


class VapiPaygentHook:
    """Puts Paygent's ids into the calls of Vapi's client.

    A call's keywords `paygent_agent_id`, `paygent_customer_id`, `paygent_indicator` and `paygent_meta_tags` take precedence over the
    arguments. None of them reach Vapi's client.

    Args:
        agent_id, customer_id: The agent, and the customer for whom it works.
        indicator_name: The event that is billed.
        customer_name: The customer's name.
        llm_config, stt_config, tts_config, sts_config: The services in use, if those that Vapi names are not what is billed.
        meta_tags: See `Client.send_usage_v2`. Invalid tags are left out, with a warning.
    """

    def __init__(
        self,
        agent_id: str,
        customer_id: str,
        indicator_name: str = "voice-session",
        customer_name: str | None = None,
        llm_config: LLMConfig | None = None,
        stt_config: STTConfig | None = None,
        tts_config: TTSConfig | None = None,
        sts_config: STSConfig | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        self.agent_id = agent_id
        self.customer_id = customer_id
        self.indicator_name = indicator_name
        self.customer_name = customer_name
        self.meta_tags = tags_of(meta_tags).get("metaTags")
        self._configs = {"llm": llm_config, "stt": stt_config, "tts": tts_config, "sts": sts_config}

    def attach(self, vapi_instance: Any) -> None:
        """Put the ids into every later call of a client, synchronous or asynchronous.

        Raises:
            RuntimeError: The client has no `calls.create`.
        """
        target = getattr(vapi_instance, "calls", None)
        create = getattr(target, "create", None)
        if target is None or create is None:
            raise RuntimeError("VapiPaygentHook.attach() needs a client of Vapi, which has calls.create")

        @functools.wraps(create)
        def created(*args: Any, **arguments: Any) -> Any:
            return create(*args, **self._named(arguments))

        target.create = created

    def create_call(self, vapi_client: Any, **arguments: Any) -> Any:
        """Make one call with the ids; see `attach`."""
        return vapi_client.calls.create(**self._named(arguments))

    def _named(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call with the ids in them."""
        metadata = self._metadata(arguments)
        arguments["request_options"] = _with_options(arguments.get("request_options"), metadata)
        overrides = arguments.get("assistant_overrides")
        if isinstance(overrides, dict):
            arguments["assistant_overrides"] = {**overrides, "metadata": {**(overrides.get("metadata") or {}), **metadata}}
        return arguments

    def _metadata(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Take Paygent's keywords out of the arguments of a call, and return the metadata that names them."""
        own = {name: arguments.pop(f"paygent_{name}", None) for name in ("agent_id", "customer_id", "indicator", "meta_tags")}
        found: dict[str, Any] = {
            "paygent_agent_id": str(own["agent_id"] or self.agent_id),
            "paygent_customer_id": str(own["customer_id"] or self.customer_id),
            "paygent_indicator": str(own["indicator"] or self.indicator_name),
            "paygent_from_sdk": True,
        }
        if self.customer_name:
            found["paygent_customer_name"] = self.customer_name
        for what, config in self._configs.items():
            if config is not None:
                names = {"model": config.model, "provider": config.provider, "plan": config.plan or "default"}
                found |= {f"paygent_{what}_{name}": value for name, value in names.items()}
        if tags := merge_meta_tags(own["meta_tags"], self.meta_tags):
            found["paygent_meta_tags"] = json.dumps(tags)
        return found


def _with_options(given: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the options of a request with the metadata in its body and the header. A caller's mapping is not changed."""
    if given is None or isinstance(given, dict):
        options = given or {}
        body = options.get(_BODY) or {}
        merged = {**body, "metadata": {**(body.get("metadata") or {}), **metadata}}
        return {**options, _BODY: merged, _HEADERS: {**(options.get(_HEADERS) or {}), **_HEADER}}
    try:
        body = getattr(given, _BODY, None) or {}
        setattr(given, _BODY, {**body, "metadata": {**(body.get("metadata") or {}), **metadata}})
        setattr(given, _HEADERS, {**(getattr(given, _HEADERS, None) or {}), **_HEADER})
    except Exception as error:
        log.warning("the ids of Paygent cannot be put into a call of Vapi: %s", error)
    return given

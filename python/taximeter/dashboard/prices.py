"""What the catalog says of calls: how a cost comes about, and what gives a model without a price one."""

from __future__ import annotations

from typing import Any, Final

from .._core import Cost
from ..errors import TaximeterError
from ..types import Event

__all__ = ["explanation", "remedy"]

_LOCAL: Final = frozenset({"ollama", "vllm", "hosted_vllm", "lm_studio", "llamafile", "llamacpp"})
"""Servers of one's own, whose calls cost nothing."""


def explanation(event: Event) -> str | None:
    """Return how the cost of a call comes about, by the prices of now for the time of the call; `None` if its counts contradict."""
    found = _price(
        event["model"],
        event.get("usage", {}),
        event["provider"],
        at=event["started_at"],
        service_tier=event.get("service_tier"),
        batch=event.get("batch", False),
        region=event.get("region"),
    )
    return None if found is None else found.explain()


def remedy(provider: str | None, model: str | None) -> dict[str, Any]:
    """Return the names of the catalog that are nearest to a model's, and what gives its calls a price, in words and as a setting.

    Args:
        provider: The provider of the calls.
        model: The model, as the calls name it.
    """
    if not (provider and model):
        return {"nearest": [], "remedy": "record these calls with the name of their model", "setting": None}
    found = _price(model, {"input_tokens": 1, "output_tokens": 1}, provider)
    near = [] if found is None else list(found.suggestions)
    setting = None
    if found is not None and found.usd is not None:
        # Without usage no price helps, so both are named.
        text = "the model has a price now: run `taximeter reprice`; calls without usage stay without a cost"
    elif provider in _LOCAL:
        text = "say that its calls cost nothing, then run `taximeter reprice`"
        setting = f"prices.free = [{_quoted(f'{provider}/*')}]"
    else:
        name = model if model.startswith("arn:") else f"{provider}/{model}"
        target = "provider/model" if not near else near[0] if "/" in near[0] else f"{provider}/{near[0]}"
        text = "say which model of the catalog it is, then run `taximeter reprice`"
        # In this form, a file may have several.
        setting = f"prices.aliases.{_quoted(name)} = {_quoted(target)}"
    return {"nearest": near, "remedy": text, "setting": setting}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _price(model: str, usage: Any, provider: str, **more: Any) -> Cost | None:
    from .._default import default_meter  # noqa: PLC0415 - reads the settings

    try:
        return default_meter.price(model, usage, provider, **more)
    except (TaximeterError, ValueError):
        return None

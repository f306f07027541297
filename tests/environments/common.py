"""Code that the scripts of the environments share: it makes calls, bare or metered, and prints what a user sees of them."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

QUESTION = [{"role": "user", "content": "a secret question"}]


def seen(value: Any) -> Any:
    """Return what a user sees of a result, in JSON's types and without fields that differ between calls."""
    if hasattr(value, "model_dump"):
        return [type(value).__name__, seen(value.model_dump(mode="json"))]
    if isinstance(value, dict):
        return {
            str(name): seen(inner) for name, inner in value.items() if name not in {"id", "created", "ResponseMetadata", "created_at"}
        }
    if isinstance(value, (list, tuple)):
        return [seen(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__


async def gathered(stream: Any) -> list[Any]:
    return [item async for item in (await stream if inspect.isawaitable(stream) else stream)]


def run(calls: Iterable[tuple[str, Callable[[], Any]]]) -> None:
    """Make the calls, synchronous and asynchronous, and print their results."""
    outcomes = {}

    async def awaited(result: Any) -> Any:
        return await result

    for name, call in calls:
        with scope():
            try:
                result = call()
                outcomes[name] = seen(asyncio.run(awaited(result)) if inspect.isawaitable(result) else result)
            except Exception as error:
                outcomes[name] = ["raised", type(error).__name__, str(error)[:300]]
    print(json.dumps(outcomes))
    if "taximeter" in sys.modules:
        import taximeter

        taximeter.close(10)


def scope() -> AbstractContextManager[None]:
    """Return the attribution of the calls in a metered run."""
    if "taximeter" not in sys.modules:
        return nullcontext()
    import taximeter

    return taximeter.attribute(team="callers")


def metered() -> bool:
    """Start metering if this run is metered, with a budget that admits or refuses all calls if it is limited. Return whether it is."""
    mode = sys.argv[2]
    if mode == "bare":
        return False
    import taximeter

    if mode == "metered":
        taximeter.init()
    else:
        taximeter.init(budgets=[taximeter.Budget("all", tokens=10**9 if mode == "limited" else 1, per="total")])
    if mode == "refused":
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    return True


def url() -> str:
    return sys.argv[1]

"""Takes pictures of the dashboard for the documentation: `make screenshots`. The calls are invented, and always the same."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

import taximeter
from taximeter.dashboard.server import Server

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CALLS = 30_000
MODELS = {
    ("anthropic", "claude-sonnet-4-5"): 3.0,
    ("openai", "gpt-4o"): 4.0,
    ("openai", "gpt-4o-mini"): 6.0,
    ("gcp.gemini", "gemini-2.5-pro"): 2.0,
    ("openai", "o3"): 1.0,
    ("mistral_ai", "mistral-large-latest"): 1.0,
    ("anthropic", "claude-haiku-4-5"): 3.0,
    ("deepseek", "deepseek-chat"): 1.0,
    ("me", "house-model"): 0.3,
}
CUSTOMERS = (
    "acme",
    "globex",
    "initech",
    "umbrella",
    "hooli",
    "stark",
    "wayne",
    "wonka",
    "tyrell",
    "cyberdyne",
    "soylent",
    "aperture",
)
ERRORS = ("RateLimitError", "APITimeoutError", "BadRequestError")


def main() -> None:
    """Make the pictures."""
    with tempfile.TemporaryDirectory() as state:
        meter = taximeter.Meter(state_dir=state)
        fill(meter)
        meter.flush(120)
        meter.close()
        with Server(lambda: taximeter.Ledger(meter.ledger_path, timezone="UTC"), "t" * 40) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            shoot(server)
            server.shutdown()


def fill(meter: taximeter.Meter) -> None:
    """Record the calls of 60 days, more of them by day than by night, and more from week to week."""
    chance = random.Random(4)  # noqa: S311 - invented calls
    now = datetime.now(timezone.utc)
    for _ in range(CALLS):
        ((provider, model),) = chance.choices(list(MODELS), list(MODELS.values()))
        started = now - timedelta(days=60 * chance.random() ** 1.3)
        if chance.random() < 0.6 and not 8 <= started.hour <= 18:  # noqa: PLR2004 - hours of the day
            continue
        failed = chance.random() < 0.012  # noqa: PLR2004 - a usual rate
        tokens = int(chance.lognormvariate(7.4, 0.8))
        meter.track(
            provider=provider,
            model=model,
            input_tokens=0 if failed else tokens,
            output_tokens=0 if failed else int(chance.lognormvariate(5.2, 0.7)),
            cache_read_tokens=0 if failed else chance.choice((0, 0, tokens // 2)),
            started_at=started,
            customer=chance.choices(CUSTOMERS, [1 / (place + 1) for place in range(len(CUSTOMERS))])[0],
            team=chance.choice(("search", "support", "growth")),
            latency_ms=chance.lognormvariate(7, 0.6),
            ttft_ms=chance.lognormvariate(5.5, 0.5),
            error=chance.choice(ERRORS) if failed else None,
        )


def shoot(server: Server) -> None:
    """Take a picture at each width and colour scheme."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, height in ((1280, 860), (390, 844)):
            for scheme in ("light", "dark"):
                page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
                page.goto(server.address())
                expect(page.locator("html[data-ready]")).to_be_attached(timeout=30_000)
                page.screenshot(path=IMAGES / f"dashboard-{width}-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()

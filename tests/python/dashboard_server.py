"""The dashboard of a ledger, served on 127.0.0.1 by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import taximeter
from taximeter.dashboard.server import Server

TOKEN = "t" * 40
HOSTILE = ["<script>alert(1)</script>", "[/foo]", "\x1b[2J", "\u202eacme", "=1+1", "株式会社アクメ", "é" * 256]
"""Names of customers that a page, a terminal or a spreadsheet must not run."""


@contextmanager
def serving(path: Path | str, kind: type[taximeter.Ledger] | None = None) -> Iterator[Server]:
    """Serve the ledger at a path or URL until the block ends. `kind` is the class that reads it."""
    with Server(lambda: (kind or taximeter.Ledger)(path, timezone="UTC"), TOKEN) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

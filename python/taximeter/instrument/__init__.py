"""Meters provider clients without changing what their users see.

Each client family is hooked in two ways. A thin shim around its public methods removes taximeter's keywords and headers from the
call. At one capture point, where the client turns an HTTP response into a result, a scanner reads the passing bytes. Results,
streams, chunks and exceptions do not change, and errors of the instrumentation never reach the caller.

No client is imported here. Loaded clients are hooked now, the others when they are imported.
"""

from __future__ import annotations

from .observers import Observer, begin_observing, end_observing, observe
from .registry import (
    Status,
    activate,
    activate_for,
    check_installed,
    deactivate,
    hook,
    installed_version,
    redirected,
    status,
    subscribe,
)

__all__ = [
    "Observer", "Status", "activate", "activate_for", "begin_observing", "check_installed", "deactivate", "end_observing", "hook",
    "installed_version", "observe", "redirected", "status", "subscribe",
]  # fmt: skip

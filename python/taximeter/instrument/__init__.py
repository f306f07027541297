"""Metering provider clients without changing what their users see.

Two things are done to a client family. A thin shim around its public methods takes taximeter's own keywords and headers out of
the call. One capture point, where the client turns an HTTP response into a result, lets a scanner watch the response's bytes pass.
Results, streams, chunks and exceptions stay the client's own; whatever goes wrong here stays here.

No client is imported: those that are loaded are bound now, the others when they are imported.
"""

from __future__ import annotations

from .observers import Observer, observe
from .registry import Status, activate, activate_for, deactivate, hook, status, subscribe

__all__ = ["Observer", "Status", "activate", "activate_for", "deactivate", "hook", "observe", "status", "subscribe"]

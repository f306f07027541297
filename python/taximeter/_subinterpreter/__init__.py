"""Sees to it that a subinterpreter gets a stand-in for the extension, before anything imports that.

Extensions made with PyO3 belong to one interpreter: a second one in the process cannot import them, and one that is not the main one
cannot be ended once it has. Hosts such as mod_wsgi and uWSGI run applications in subinterpreters.
"""

from __future__ import annotations

import importlib
import sys

__all__ = ["is_main"]


def is_main() -> bool:
    """Whether this is the interpreter that the process began with."""
    # Where Python says it: 3.13 and later, 3.10 to 3.12. Both are built in; another Python has no subinterpreters.
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    try:
        module = importlib.import_module(name)
    except ImportError:
        return True
    return bool(module.get_current() == module.get_main())


if not is_main():
    absent = importlib.import_module("taximeter._subinterpreter.stub")
    sys.modules["taximeter._core"] = absent
    vars(sys.modules["taximeter"])["_core"] = absent

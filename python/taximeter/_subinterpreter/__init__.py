"""Replaces the extension with a stub in a subinterpreter. It must be imported before anything imports the extension.

Extensions built with PyO3 work in one interpreter of a process. A second interpreter cannot import them, and a subinterpreter that
has imported them cannot be ended. Servers such as mod_wsgi and uWSGI run applications in subinterpreters.
"""

from __future__ import annotations

import importlib
import sys

__all__ = ["is_main"]


def is_main() -> bool:
    """Return whether this is the process's first interpreter."""
    # The first name exists in Python 3.13 and later, the second in 3.10 to 3.12. Other implementations have no subinterpreters.
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

"""Imports in a forked child.

Many imports of this package are inside functions, so threads import at any time. If one thread forks meanwhile, the child has a lock
on a module whose import no thread there ends, and each later import of that module would wait for ever: Python frees only its global
lock. So the child forgets such locks, and the modules that are not finished. The next import loads them again.
"""

from __future__ import annotations

import os
import sys
from typing import Any

__all__: list[str] = []


def _forget_unfinished() -> None:
    """Forget what the parent's other threads were importing, if it began in this package. Never raises."""
    # Greenlets go on in a child and end their imports there.
    if "gevent.monkey" in sys.modules:
        return
    try:
        # Python has no public name for the locks. They have been the same from 3.3 to 3.14.
        system: Any = sys.modules["_frozen_importlib"]
        here = system._thread.get_ident()  # noqa: SLF001
        locks = {name: lock for name, known in list(system._module_locks.items()) if (lock := known()) is not None}  # noqa: SLF001
        ours = {name for name, lock in locks.items() if name.partition(".")[0] == __package__ and lock.owner != here}
        # Such a thread also has the locks of what our module was importing.
        gone = {locks[name].owner for name in ours} - {None}
        for name in ours | {name for name, lock in locks.items() if lock.owner in gone}:
            system._module_locks.pop(name, None)  # noqa: SLF001
            if getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False):
                del sys.modules[name]
    except Exception:
        pass  # another version of Python; imports wait as without this


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_unfinished)

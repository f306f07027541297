"""Runs the Python blocks of a page one after the other, as one program, and prints their outputs as JSON.

Standard input: `{"page": …, "blocks": [[line, text], …]}`. A traceback names the page and its line.
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import sys


def main() -> None:
    given = json.load(sys.stdin)
    page, names, printed = given["page"], sys.modules["__main__"].__dict__, []
    source = ""
    for line, text in given["blocks"]:
        source += "\n" * (line - source.count("\n")) + text
        linecache.cache[page] = (len(source), None, source.splitlines(keepends=True), page)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile("\n" * line + text, page, "exec"), names)
        printed.append(output.getvalue())
    print(json.dumps(printed))


main()

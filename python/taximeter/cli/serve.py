"""The command that serves the dashboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from .. import _default
from ..errors import ConfigError
from ..ledger import Ledger
from ..meter import engine_of
from . import common
from .common import Add
from .render import answer, say

__all__ = ["add_commands"]

_PORT: Final = 8265
"""A port that no well-known service has."""
_TOKEN_FILE: Final = "serve.token"  # noqa: S105 - the name of a file


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    serve = add(
        "serve",
        _serve,
        "show the ledger as a page on this machine, for reading only",
        "serve --open",
        "serve --port 9000 --redact user,session",
        "serve --from clickhouse+https://HOST:8443/DATABASE",
    )
    common.add_source(serve)
    serve.add_argument("--port", type=_port, default=_PORT, metavar="N", help=f"the port; 0 for a free one (default: {_PORT})")
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen at; others than this machine's need --token-file",
    )
    serve.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"a file with the token of scripts (default: {_TOKEN_FILE} in the state directory)",
    )
    serve.add_argument(
        "--redact", default="", metavar="FIELDS", help="fields whose values are replaced by codes, such as user,session,tag:email"
    )
    serve.add_argument("--metrics-by", default="", metavar="FIELDS", help="more labels of calls in /metrics, such as team,feature")
    serve.add_argument("--open", action="store_true", help="open the page in the browser")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):  # noqa: PLR2004 - the highest port
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _serve(options: argparse.Namespace) -> int:
    # These imports take longer than the start of other commands.
    from ..dashboard.server import Server, own_token  # noqa: PLC0415
    from ..dashboard.state import check_redacted  # noqa: PLC0415
    from ..ledger.metrics import check_labels, labels  # noqa: PLC0415
    from ..meter.statuses import labelled  # noqa: PLC0415

    hosts = _hosts(options.host, options.token_file)
    redact = check_redacted(options.redact)
    metrics_by = labels(options.metrics_by)
    check_labels(metrics_by)
    # Delivers what ended processes left, and migrates the ledger. From here on, nothing is written.
    own = common.ledger(options)
    token = own_token(options.token_file or options.settings.state_dir / _TOKEN_FILE, is_made=options.token_file is None)
    source = common.server_of(options, "--from", options.source).destination if options.source else own.path
    make = partial(Ledger, source, timezone=own.timezone)
    budgets = engine_of(_default.default_meter).standings
    processes = partial(labelled, options.settings.state_dir)
    try:
        server = Server(
            make,
            token,
            host=options.host,
            port=options.port,
            hosts=hosts,
            budgets=budgets,
            processes=processes,
            metrics_by=metrics_by,
            redact=redact,
        )
    except OSError as error:
        raise ConfigError(
            f"--port: the page cannot listen at port {options.port} of {options.host!r}: {error.strerror}; give another --port, "
            "0 for a free one, or as --host an IPv4 address of this machine"
        ) from None
    with server:
        address = server.address()
        if options.json:
            answer(options, [{"address": address, "port": server.server_port, "ledger": own.place}])
            sys.stdout.flush()  # a pipe would get it at the end
        else:
            say(f"{address}\nThis address works once, in one browser. Ctrl-C ends the page.")
        if options.open:
            import webbrowser  # noqa: PLC0415 - as the server

            webbrowser.open(address)
        server.serve_forever(poll_interval=0.2)
    return 0


def _hosts(host: str, token_file: Path | None) -> Sequence[str]:
    """Return the names by which browsers may reach the page.

    Raises:
        ConfigError: The address is reached from other machines, and there is no token for them.
    """
    from ..dashboard.access import LOOPBACK  # noqa: PLC0415 - as in _serve

    if host in {"127.0.0.1", "localhost"}:
        return LOOPBACK
    if token_file is None:
        raise ConfigError(f"--host: {host!r} can be reached from other machines; give --token-file, or leave --host out")
    return (*LOOPBACK, host)

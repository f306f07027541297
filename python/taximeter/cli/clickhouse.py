"""`taximeter clickhouse`: creates and checks the table of a destination in ClickHouse."""

from __future__ import annotations

import argparse

from ..ledger import clickhouse
from ..sanitize import printable
from .common import Add, action_adder, server_of
from .render import answer

__all__ = ["add_commands"]

_URL = (
    "clickhouse+https://HOST:8443/DATABASE; the keys are those of this destination in the settings, else CLICKHOUSE_USER and "
    "CLICKHOUSE_PASSWORD"
)


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    command = add("clickhouse", _help, "create and check the table of a destination in ClickHouse")
    command.set_defaults(parser=command)
    action = action_adder(command.add_subparsers(title="actions", metavar="ACTION"), "clickhouse ")
    init = action("init", _init, "create the table, or bring it up to date")
    init.add_argument("url", metavar="URL", help=_URL)
    show = action("ddl", _ddl, "print the statement that creates the table")
    show.add_argument("url", metavar="URL", nargs="?", help="a URL with the database (default: the database `default`)")
    for one in (init, show):
        one.add_argument("--cluster", metavar="NAME", help="create a replicated table on this cluster")
        one.add_argument("--ttl", metavar="DAYS", help="delete calls after so many days, such as 400d (default: never)")
    check = action("check", _check, "check the server, the table, its columns and rows")
    check.add_argument("url", metavar="URL", help=_URL)


def _help(options: argparse.Namespace) -> int:
    options.parser.print_help()
    return 2


def _table(options: argparse.Namespace) -> clickhouse.Table:
    return clickhouse.Table(server_of(options, "url", options.url))


def _init(options: argparse.Namespace) -> int:
    table = _table(options)
    done = table.create(cluster=options.cluster, ttl=options.ttl)
    if options.json:
        answer(options, [{"done": one} for one in done])
    else:
        print("\n".join(done))
    return 0


def _ddl(options: argparse.Namespace) -> int:
    if options.url is None:
        database, table = "default", "taximeter_events"
    else:
        server = _table(options).server
        database, table = server.database, server.table
    statement = clickhouse.ddl(database, table, cluster=options.cluster, ttl=options.ttl)
    if options.json:
        answer(options, [{"statement": statement}])
    else:
        print(statement)
    return 0


def _check(options: argparse.Namespace) -> int:
    checks = _table(options).check()
    if options.json:
        answer(options, [{"check": name, "ok": is_well is not False, "detail": detail} for name, is_well, detail in checks])
    else:
        for name, is_well, detail in checks:
            mark = {True: "ok  ", None: "note", False: "BAD "}[is_well]
            print(printable(f"{mark}  {name}: {detail}"))
    return 0 if all(is_well is not False for _, is_well, _ in checks) else 1

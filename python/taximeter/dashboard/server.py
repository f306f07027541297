"""Serves the dashboard with the standard library's WSGI server, a thread for each request."""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .. import files
from ..errors import ConfigError
from .access import LOOPBACK, Access
from .app import Dashboard, Processes, Standings, StartResponse
from .http import IS_GONE, Response
from .source import Source

__all__ = ["Server", "own_token"]

_IDLE: Final = 30
"""Seconds that a connection may stay silent."""
_MOST_CONNECTIONS: Final = 256
"""Connections at once; more are closed. They would take the descriptors that reading the ledger needs."""
_PAUSE: Final = 0.1
"""Seconds until the next attempt to accept a connection when there are no descriptors."""
_LEAST_TOKEN: Final = 20
"""The fewest characters of a token."""


def own_token(path: Path, *, is_made: bool = False) -> str:
    """Return the token of a file.

    Args:
        path: The file.
        is_made: Whether the file, and its directory, are created if they do not exist. Only their owner can read them.

    Raises:
        ConfigError: The file cannot be read or created, or its token is too short to be a secret.
    """
    try:
        if is_made:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
            except FileExistsError:
                pass
            else:
                with os.fdopen(handle, "w") as file:
                    file.write(f"{secrets.token_urlsafe(32)}\n")
        token = files.decode(files.read(path, 4096)).strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"token-file: {str(path)!r} cannot be used: {error}") from None
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"token-file: {str(path)!r} needs one line of at least {_LEAST_TOKEN} printable characters without spaces")
    return token


class _RequestHandler(WSGIRequestHandler):
    timeout = _IDLE

    def get_environ(self) -> dict[str, Any]:
        """Return the environment of the request, with the means to see that its client has gone."""
        return {**super().get_environ(), IS_GONE: partial(_is_gone, self.connection)}

    def address_string(self) -> str:
        return str(self.client_address[0])  # without a look-up of the name

    def version_string(self) -> str:
        """Return the name of the server, without the version of Python."""
        return "taximeter"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - of the base
        """Answer what is no request, in plain text and with the headers of every response."""
        response = Response(f"{HTTPStatus(code).phrase}\n".encode(), status=HTTPStatus(code))
        self.request_version = "HTTP/1.0"  # a request without a version would get no headers
        self.send_response(response.status)
        for name, value in response.head():
            self.send_header(name, value)
        self.end_headers()
        if isinstance(response.body, bytes) and self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Log nothing: addresses have codes in them."""


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other end of a connection has closed it. A client sends nothing after its request."""
    try:
        with selectors.DefaultSelector() as looked_at:
            looked_at.register(connection, selectors.EVENT_READ)
            return bool(looked_at.select(0)) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True


class Server(ThreadingMixIn, WSGIServer):
    """A server of the dashboard.

    Args:
        ledger: Opens the ledger; called for each of the readers.
        token: The token of scripts.
        host: The address to listen at.
        port: The port; 0 for a free one.
        hosts: The names by which browsers reach the server; by default those of this machine.
        budgets: Returns what is used of the budgets; `None` shows no budgets.
        processes: Returns the counts of processes; see `Dashboard`.
        metrics_by: More labels of calls in `/metrics`.
        redact: Fields whose values are not shown.

    Raises:
        OSError: The port is in use, or the address is not one of this machine.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        ledger: Callable[[], Source],
        token: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hosts: Sequence[str] = LOOPBACK,
        budgets: Standings | None = None,
        processes: Processes | None = None,
        metrics_by: Sequence[str] = (),
        redact: Collection[str] = (),
    ) -> None:
        super().__init__((host, port), _RequestHandler)
        self.places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.access = Access(self.server_port, token, hosts)
        self._dashboard = Dashboard(
            ledger, access=self.access, budgets=budgets, processes=processes, metrics_by=metrics_by, redact=redact
        )
        self.set_app(self._named)

    def _named(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        # Otherwise the header has the version of Python.
        return self._dashboard(environ, lambda status, headers: start_response(status, [*headers, ("Server", "taximeter")]))

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError:
            # The connection stays in the queue, so without a pause the loop would try again at once, for ever.
            time.sleep(_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, or close it if there are too many."""
        if not self.places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection, and make place for another one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def address(self) -> str:
        """Return an address that admits one browser, with a new code."""
        return f"http://127.0.0.1:{self.server_port}/?code={self.access.new_code()}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a reader that went away."""

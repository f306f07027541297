"""Who may read the dashboard.

The ledger's file is readable by its owner only. A port of the loopback interface is open to every user of the machine, and to every
page that a browser shows, so each request has to prove more than that it reached the port.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from hmac import compare_digest
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from .http import Request, RequestError, Response

__all__ = ["LOOPBACK", "OPEN", "Access", "check_request"]

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""The names by which a browser on this machine reaches it."""
OPEN: Final = frozenset({"/healthz"})
"""Paths that need no secret. Their answers say nothing about the ledger."""
_METHODS: Final = ("GET", "HEAD")
_OWN_SITES: Final = ("same-origin", "none")
"""Values of `Sec-Fetch-Site`: a request of our own page, or of the person at the address bar."""


def check_request(request: Request) -> None:
    """Refuse what no page of ours sends.

    Raises:
        RequestError: The method would change something, or another site's page made the request.
    """
    if request.method not in _METHODS:
        raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "the dashboard only reads; use GET or HEAD", {"Allow": ", ".join(_METHODS)})
    site = request.headers.get("sec-fetch-site")
    is_visit = request.path == "/" and request.headers.get("sec-fetch-mode") == "navigate"
    if site is not None and site not in _OWN_SITES and not is_visit:
        raise RequestError(HTTPStatus.FORBIDDEN, "another site's page made this request; open the dashboard itself")


class Access:
    """Admits requests that know a secret and came by a name of this machine.

    Args:
        port: The port of the dashboard.
        token: The bearer token of scripts.
        hosts: The names by which the dashboard is reached.
    """

    def __init__(self, port: int, token: str, hosts: Sequence[str] = LOOPBACK) -> None:
        self._hosts = frozenset({f"{host}:{port}".lower() for host in hosts} | {host.lower() for host in hosts if port == 80})  # noqa: PLR2004
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._token = token.encode()
        self._cookie = f"taximeter-{port}"
        self._session = secrets.token_urlsafe(32)
        self._code: str | None = None
        self._lock = threading.Lock()

    def new_code(self) -> str:
        """Return a code that admits one browser. It replaces the code before."""
        with self._lock:
            self._code = secrets.token_urlsafe(32)
            return self._code

    def admit(self, request: Request) -> Response | None:
        """Return `None` for a request that may be answered, or the response that turns a code into a cookie.

        Raises:
            RequestError: The request is refused.
        """
        host = request.headers.get("host", "").lower()
        if host not in self._hosts:
            # A page of another name that resolves to this machine ("DNS rebinding") would otherwise read the ledger.
            raise RequestError(HTTPStatus.FORBIDDEN, f"this is not the dashboard of {host!r}; open it by {min(self._hosts)}")
        if (origin := request.headers.get("origin")) is not None and origin.lower() not in self._origins:
            raise RequestError(HTTPStatus.FORBIDDEN, "another site's page made this request; open the dashboard itself")
        check_request(request)
        if request.path in OPEN:
            return None
        codes = [value for name, value in request.query() if name == "code"]
        if request.path == "/" and codes:
            return self._exchange(codes[0], request)
        if self._knows(request):
            return None
        raise RequestError(
            HTTPStatus.UNAUTHORIZED,
            "open the address that `taximeter serve` printed, or send the token of serve.token: Authorization: Bearer TOKEN",
            {"WWW-Authenticate": 'Bearer realm="taximeter"'},
        )

    def _knows(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(token.strip(), self._token):
            return True
        cookies = (part.strip().partition("=") for part in request.headers.get("cookie", "").split(";"))
        return any(name == self._cookie and _same(value, self._session.encode()) for name, _, value in cookies)

    def _exchange(self, code: str, request: Request) -> Response:
        with self._lock:
            is_valid = self._code is not None and _same(code, self._code.encode())
            if is_valid:
                self._code = None
        if not is_valid and not self._knows(request):
            raise RequestError(HTTPStatus.UNAUTHORIZED, "this address was used already; start `taximeter serve` again for a new one")
        rest = urlencode([(name, value) for name, value in request.query() if name != "code"])
        headers = {"Location": f"{request.mount}/{f'?{rest}' if rest else ''}"}
        if is_valid:
            headers["Set-Cookie"] = f"{self._cookie}={self._session}; HttpOnly; SameSite=Strict; Path={request.mount or '/'}"
        return Response(status=HTTPStatus.SEE_OTHER, headers=headers)


def _same(given: str, secret: bytes) -> bool:
    """Compare in a time that does not depend on the values."""
    return compare_digest(given.encode("utf-8", "replace"), secret)

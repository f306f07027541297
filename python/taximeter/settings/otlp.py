"""The OTLP destination: its options, and OpenTelemetry's environment variables.

The variables are those of the specification of OTLP exporters, version 1.x: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from .. import _core
from ..concealed import concealed
from ..errors import ConfigError

__all__ = ["DIALECTS", "NAME", "arguments", "options", "with_path"]

NAME: Final = "otlp"
"""The protocol of this destination. Given instead of a URL, it stands for the address in OpenTelemetry's environment variables."""
DIALECTS: Final = ("all", "genai")
_PATH: Final = "/v1/traces"
_PROTOCOL: Final = "http/protobuf"
_SEVERAL: Final = "OTEL_EXPORTER_OTLP_"
_TRACES: Final = "OTEL_EXPORTER_OTLP_TRACES_"


def with_path(url: str) -> str:
    """Return a URL whose path ends with `/v1/traces`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # the core refuses it
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def options(*, dialect: str | None, service_name: str | None, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options of the format in the form that the core takes.

    Args:
        dialect: `all` or `genai`; `None` for `all`.
        service_name: The resource's `service.name`; `None` for the one in the environment.
        environ: The environment; the process's own by default.

    Raises:
        ConfigError: The dialect is unknown, or a value is not a text.
    """
    environ = os.environ if environ is None else environ
    if dialect not in {None, *DIALECTS}:
        raise ConfigError(f"destination: dialect: {str(dialect)[:40]!r} is not one of {', '.join(DIALECTS)}")
    if not isinstance(service_name, str | None):
        raise ConfigError(f"destination: service_name: {type(service_name).__name__} is not a text")
    given = dict(_pairs("OTEL_RESOURCE_ATTRIBUTES", [environ.get("OTEL_RESOURCE_ATTRIBUTES", "")]))
    name = service_name or environ.get("OTEL_SERVICE_NAME") or given.get("service.name") or "unknown_service:python"
    resource = {
        **given,
        "service.name": name,
        "telemetry.sdk.name": "taximeter",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": _core.__version__,
    }
    return {"dialect": dialect, "uncompressed": False, "resource": sorted(resource.items())}


def arguments(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the arguments of `Destination` from OpenTelemetry's environment variables. Those for traces come first.

    Args:
        environ: The environment; the process's own by default.

    Returns:
        The keywords `url`, `headers`, `timeout` in seconds and `ca_bundle`, as far as the variables give them; `is_exact`, whether
        the URL is used as it is; and `uncompressed`.

    Raises:
        ConfigError: There is no address, or a variable has a value that this destination does not support.
    """
    environ = os.environ if environ is None else environ

    def variable(name: str) -> tuple[str, str]:
        found = next((key for key in (_TRACES + name, _SEVERAL + name) if environ.get(key, "").strip()), "")
        return found, concealed(environ.get(found, "").strip())

    key, address = variable("ENDPOINT")
    if not key:
        raise ConfigError(
            f"destination: 'otlp' needs {_TRACES}ENDPOINT or {_SEVERAL}ENDPOINT; set one, or give a URL otlp+https://host"
        )
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"destination: {key}: the address must begin with http:// or https://")
    name, protocol = variable("PROTOCOL")
    if protocol not in {"", _PROTOCOL}:
        raise ConfigError(
            f"destination: {name}: {protocol[:20]} is not supported; set it to {_PROTOCOL}, for port 4318 of collectors"
        )
    name, compression = variable("COMPRESSION")
    if compression not in {"", "gzip", "none"}:
        raise ConfigError(f"destination: {name}: {compression[:20]} is neither gzip nor none")
    found: dict[str, Any] = {
        "url": concealed(f"otlp+{address}"),
        "is_exact": key.startswith(_TRACES),
        "uncompressed": compression == "none",
    }
    if name := variable("HEADERS")[0]:
        found["headers"] = dict(_pairs(name, concealed([environ[name]])))
    if (given := variable("CERTIFICATE"))[1]:
        found["ca_bundle"] = given[1]
    name, timeout = variable("TIMEOUT")
    if timeout:
        try:
            found["timeout"] = float(timeout) / 1000
        except ValueError:
            raise ConfigError(f"destination: {name}: {timeout[:20]} is not a number of milliseconds") from None
    return found


def _pairs(variable: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of a text `key=value,key=value`. Values are percent-decoded. Neither errors nor their tracebacks show them."""
    pairs = concealed([part.partition("=") for text in given for part in text.split(",") if part.strip()])
    if any(not key.strip() or not separator for key, separator, _ in pairs):
        raise ConfigError(f"destination: {variable}: a part is not of the form key=value; separate parts by commas")
    return [(key.strip(), concealed(unquote(value.strip()))) for key, _, value in pairs]

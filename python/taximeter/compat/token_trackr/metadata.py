"""What Token Trackr records about the host: its name, its Kubernetes pod and its cloud."""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ... import _core

__all__ = ["HostMetadata", "K8sMetadata", "cloud_endpoints", "get_host_metadata", "here"]

# The most characters of the service's database columns.
_MAX_CHARACTERS: Final = 255
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LINK_LOCAL: Final = "http://169.254.169.254"
_GOOGLE: Final = "http://metadata.google.internal"


@dataclass
class K8sMetadata:
    """A Kubernetes pod."""

    pod: str | None = None
    namespace: str | None = None
    node: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in the service's form."""
        return {"pod": self.pod, "namespace": self.namespace, "node": self.node}


@dataclass
class HostMetadata:
    """A host."""

    hostname: str = ""
    cloud_provider: str = "unknown"
    instance_id: str | None = None
    k8s: K8sMetadata | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in the service's form."""
        known = {"hostname": self.hostname, "cloud_provider": self.cloud_provider, "instance_id": self.instance_id}
        return known if self.k8s is None else {**known, "k8s": self.k8s.to_dict()}


def _fitting(text: str | None) -> str | None:
    return text.replace("\0", "")[:_MAX_CHARACTERS] if text else None


def _namespace() -> str | None:
    try:
        return (_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return None


@functools.cache
def _machine(_process: int) -> HostMetadata:
    """Return this host without its cloud. Cached by process, because a forked process may have another environment."""
    environ = os.environ
    k8s = None
    if (_ACCOUNT / "token").exists():
        pod = environ.get("HOSTNAME") or environ.get("POD_NAME")
        namespace = environ.get("POD_NAMESPACE") or _namespace()
        k8s = K8sMetadata(_fitting(pod), _fitting(namespace), _fitting(environ.get("NODE_NAME")))
    return HostMetadata(hostname=_fitting(socket.gethostname()) or "", k8s=k8s)


def here() -> HostMetadata:
    """Return what is known about this host without network access."""
    return _machine(os.getpid())


def cloud_endpoints() -> tuple[str, str, str] | None:
    """Return the base URLs of the metadata services of Amazon, Microsoft and Google; `None` to skip the look-up.

    `TOKEN_TRACKR_METADATA_URL` replaces all three. If it is empty, the look-up is skipped.
    """
    named = os.environ.get("TOKEN_TRACKR_METADATA_URL")
    if named is not None:
        return (named, named, named) if named else None
    return _LINK_LOCAL, _LINK_LOCAL, _GOOGLE


def get_host_metadata() -> HostMetadata:
    """Return this host with its cloud. The first call looks up the cloud, which takes up to a second.

    A response only counts if the instance id has its cloud's form: `i-…`, a UUID or a number.
    """
    endpoints, machine = cloud_endpoints(), here()
    provider, instance = ("on-prem", None) if endpoints is None else _core.cloud(*endpoints)
    return HostMetadata(machine.hostname, provider, instance, machine.k8s)

"""What is examined: the configuration, the adapters that it makes, and the registry's public address."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.loader import Loaded
from core.diagnosis import Diagnosis
from entrypoints.doctor.client import PublicRegistry

if TYPE_CHECKING:
    from config.container import Container

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One registry."""

    loaded: Loaded
    container: "Container"
    scratch_id: str
    """Names what checks write; letters, digits and dashes."""
    public: PublicRegistry | None = None
    """The registry at the address that clients use, if that was told."""
    replicas: tuple[PublicRegistry, ...] = ()
    """Its processes one by one, around the load balancer."""
    ca_file: str | None = None
    """Certificates of authorities that clients trust besides the system's."""
    largest_body: int = 128 * MIB
    """Bytes of the largest request that is tried."""


Group = Callable[[Patient], AsyncIterator[Diagnosis]]
"""Looks at one side of a patient."""

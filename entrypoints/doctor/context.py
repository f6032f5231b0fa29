"""Subject of the checks: the configuration, the adapters built from it, and the registry's public address."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.loaded import Loaded
from core.diagnosis import Diagnosis
from entrypoints.doctor.client import PublicRegistry

if TYPE_CHECKING:
    from config.container import RegistryApplication

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorContext:
    """Registry to check, with its configuration and adapters."""

    loaded: Loaded
    application: "RegistryApplication"
    scratch_id: str
    """Id used in the names of everything that checks write; letters, digits and dashes."""
    public: PublicRegistry | None = None
    """The registry at the address that clients use, if one was given."""
    replicas: tuple[PublicRegistry, ...] = ()
    """The registry's replicas, addressed directly instead of through the load balancer."""
    ca_file: str | None = None
    """PEM file of authorities that clients trust in addition to the system's."""
    largest_body: int = 128 * MIB
    """Size in bytes of the largest request to try."""


CheckGroup = Callable[[DoctorContext], AsyncIterator[Diagnosis]]
"""Group of checks of one aspect of a registry."""

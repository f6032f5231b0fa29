"""All groups of checks in order; a group that fails becomes a finding, and the remaining groups still run."""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final

from core.diagnosis import Diagnosis
from core.errors import StorageError
from entrypoints.doctor.catalog import examine_catalog
from entrypoints.doctor.certificates import examine_certificates
from entrypoints.doctor.clock import examine_clock
from entrypoints.doctor.findings import failure
from entrypoints.doctor.limits import examine_limits
from entrypoints.doctor.patient import Group, Patient
from entrypoints.doctor.push import examine_push
from entrypoints.doctor.redis import examine_redis
from entrypoints.doctor.replicas import examine_replicas
from entrypoints.doctor.settings import examine_settings
from entrypoints.doctor.storage import examine_storage

_logger = logging.getLogger(__name__)

GROUPS: Final[Mapping[str, Group]] = {
    "configuration": examine_settings,
    "storage": examine_storage,
    "catalog": examine_catalog,
    "redis": examine_redis,
    "clock": examine_clock,
    "certificates": examine_certificates,
    "push": examine_push,
    "limits": examine_limits,
    "replicas": examine_replicas,
}


async def examine(patient: Patient, groups: Mapping[str, Group] = GROUPS) -> AsyncIterator[Diagnosis]:
    """Yield each diagnosis as soon as it is available."""
    for name, group in groups.items():
        try:
            async for diagnosis in group(patient):
                yield diagnosis
        except StorageError as error:
            yield failure(
                name, str(error), "the remaining checks of this group did not run; see the checks of the storage"
            )
        except Exception as error:
            # A defect in one check must not prevent the others.
            _logger.exception("doctor: a check raised an unexpected error")
            yield failure(name, f"error in the check: {type(error).__name__}", "report this defect, with the log")

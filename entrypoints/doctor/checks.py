"""All groups of checks in order; a group that fails becomes a finding, and the remaining groups still run."""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Final

from core.diagnosis import Diagnosis
from core.errors import StorageError
from entrypoints.doctor.catalog import check_catalog
from entrypoints.doctor.certificates import check_certificates
from entrypoints.doctor.clock import check_clock
from entrypoints.doctor.context import CheckGroup, DoctorContext
from entrypoints.doctor.findings import failure
from entrypoints.doctor.issuers import check_issuers
from entrypoints.doctor.limits import check_limits
from entrypoints.doctor.push import check_push
from entrypoints.doctor.redis import check_redis
from entrypoints.doctor.replicas import check_replicas
from entrypoints.doctor.settings import check_configuration
from entrypoints.doctor.storage import check_storage
from entrypoints.doctor.upstreams import check_upstreams

_logger = logging.getLogger(__name__)

GROUPS: Final[Mapping[str, CheckGroup]] = {
    "configuration": check_configuration,
    "storage": check_storage,
    "catalog": check_catalog,
    "redis": check_redis,
    "clock": check_clock,
    "certificates": check_certificates,
    "upstreams": check_upstreams,
    "issuers": check_issuers,
    "push": check_push,
    "limits": check_limits,
    "replicas": check_replicas,
}


async def run_checks(doctor: DoctorContext, groups: Mapping[str, CheckGroup] = GROUPS) -> AsyncIterator[Diagnosis]:
    """Yield each diagnosis as soon as it is available."""
    for name, group in groups.items():
        try:
            async for diagnosis in group(doctor):
                yield diagnosis
        except StorageError as error:
            yield failure(
                name, str(error), "the remaining checks of this group did not run; see the checks of the storage"
            )
        except Exception as error:
            # A defect in one check must not prevent the others.
            _logger.exception("doctor: a check raised an unexpected error")
            yield failure(name, f"error in the check: {type(error).__name__}", "report this defect, with the log")

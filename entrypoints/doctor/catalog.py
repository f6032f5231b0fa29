"""The catalog's index: whether it answers, and what its adapter can tell of its surroundings."""

from collections.abc import AsyncIterator

from core.diagnosis import Diagnosable, Diagnosis
from core.errors import StorageError
from entrypoints.doctor.findings import failure, ok
from entrypoints.doctor.patient import Patient


async def examine_catalog(patient: Patient) -> AsyncIterator[Diagnosis]:
    """Ask the index, then the adapter."""
    index = patient.container.catalog_index()
    check = f"catalog: {index.name}"
    try:
        await index.check()
    except StorageError as error:
        yield failure(check, str(error), "see docs/catalog.md; pushes and pulls go on without it")
    else:
        yield ok(check)
    if isinstance(index, Diagnosable):
        for diagnosis in await index.diagnose():
            yield diagnosis

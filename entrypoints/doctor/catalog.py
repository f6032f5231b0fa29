"""Checks of the catalog index: whether it responds, and the diagnoses of its adapter."""

from collections.abc import AsyncIterator

from core.diagnosis import Diagnosable, Diagnosis
from core.errors import CatalogLostError, StorageError
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok, warning


async def check_catalog(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Check the index, then yield the diagnoses of its adapter."""
    index = doctor.application.catalog_index
    check = f"catalog: {index.name}"
    try:
        await index.check()
    except CatalogLostError as error:
        remedy = "start the registry, which creates and fills it, or run `registry catalog rebuild`"
        yield warning(check, str(error), remedy)
    except StorageError as error:
        yield failure(check, str(error), "see docs/catalog.md; pushes and pulls work without the index")
    else:
        yield ok(check)
    if isinstance(index, Diagnosable):
        for diagnosis in await index.diagnose():
            yield diagnosis

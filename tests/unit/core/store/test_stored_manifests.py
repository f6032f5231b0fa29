"""The reader of stored manifests names the problem of each manifest that cannot be parsed."""

import json

import pytest

from core.model.digest import Digest
from core.store import layout
from core.store.stored_manifests import ManifestProblem, read_stored_manifest
from tests.support.content import image_manifest

IMAGE = image_manifest(b"{}")
SCHEMA1 = json.dumps({"schemaVersion": 1, "fsLayers": []}).encode()


async def test_intact_manifest_is_parsed(services):
    digest = Digest.of(IMAGE)
    await services.storage.write(layout.blob_data(digest), IMAGE)
    found = await read_stored_manifest(services.storage, digest)
    assert (found.content, found.problem) == (IMAGE, None)
    assert found.manifest is not None
    assert found.manifest.content == IMAGE


@pytest.mark.parametrize(
    ("stored", "named", "problem"),
    [
        (None, IMAGE, ManifestProblem.MISSING),
        (IMAGE + b" " * 1000, IMAGE + b" " * 1000, ManifestProblem.TOO_LARGE),
        (b"damaged", IMAGE, ManifestProblem.CORRUPT),
        (SCHEMA1, SCHEMA1, ManifestProblem.SCHEMA1),
        (b"text", b"text", ManifestProblem.UNREADABLE),
    ],
)
async def test_other_manifest_has_a_problem(services, stored, named, problem):
    digest = Digest.of(named)
    if stored is not None:
        await services.storage.write(layout.blob_data(digest), stored)
    found = await read_stored_manifest(services.storage, digest, limit=1000)
    assert (found.manifest, found.problem) == (None, problem)
    assert found.is_absent == (problem in {ManifestProblem.MISSING, ManifestProblem.TOO_LARGE})
    assert found.is_opaque == (found.is_absent or problem is ManifestProblem.CORRUPT)
    assert found.content == (b"" if found.is_absent else stored)

"""Exports of images to a layout and imports: their content, and refused images."""

import json
from contextlib import asynccontextmanager

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.image_layout.folder import FolderImageLayout
from core.errors import (
    BlobUnknownError,
    CachedRepositoryError,
    ContentDamagedError,
    DigestMismatchError,
    ImageLayoutError,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ManifestUnknownError,
    NameUnknownError,
    ObjectNotFoundError,
    SizeMismatchError,
    UnsupportedError,
)
from core.model import media_types
from core.model.digest import Digest, StandardHasher
from core.model.events import UNNAMED
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobReader
from core.ports.image_layout import ImageLayout
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from core.transfer.exporting import ExportRequest, ImageExport
from core.transfer.importing import ImageImport, ImportTarget
from core.transfer.layout_index import blob_path
from tests.support.content import LAYER_MEDIA_TYPE, descriptor, image_index, image_manifest
from tests.support.core_services import NOW, CoreServices, in_turn
from tests.support.invariants import broken_invariants
from tests.support.transfers import registry_tree

APP, OTHER = RepositoryName("team/app"), RepositoryName("other")
OCI = media_types.OCI_MANIFEST
V1, V2 = Tag("v1"), Tag("v2")


class Registries:
    """A registry in memory, its services, and the two commands on it."""

    def __init__(self, *, policy=None, storage=None):
        self.services = CoreServices(
            storage=storage or InMemoryBlobStorage(now=lambda: NOW), policy=policy or ManifestPolicy()
        )
        self.index = InMemoryCatalogIndex()
        self.registry = self.services.registry(self.index)
        self.seen = []
        self.cached = set()

    async def push(self, name, tag, *layers, **fields):
        for content in (b"{}", *layers):
            await self.services.push_blob(name, content)
        manifest = image_manifest(b"{}", list(layers), **fields)
        await self.registry.push_manifest(
            name, manifest, OCI, by=UNNAMED, digest=Digest.of(manifest), tags=[tag] if tag else []
        )
        return manifest

    async def export(self, path, *requests, with_referrers=False):
        async with FolderImageLayout(path, creates=True) as folder:
            export = ImageExport(
                self.registry,
                folder,
                new_hasher=StandardHasher,
                offload=in_turn,
                observe=self.seen.append,
                with_referrers=with_referrers,
            )
            return await export.run([ExportRequest(name=name, reference=ref) for name, ref in requests])

    async def take_in(self, path, name=None, tag=None):
        async with FolderImageLayout(path) as folder:
            return await self.take_in_from(folder, name, tag)

    async def take_in_from(self, opened, name=None, tag=None):
        taking = ImageImport(
            self.registry, opened, by=UNNAMED, observe=self.seen.append, is_cached=self.cached.__contains__
        )
        return await taking.run(ImportTarget(name=name, tag=tag))


class MemoryImageLayout(ImageLayout):
    """A layout in memory, which needs no opening."""

    def __init__(self, *blobs, images):
        self._files = {blob_path(Digest.of(content)): content for content in (*blobs, *(each for each, _ in images))}
        self._files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        entries = [descriptor(content, media_type) for content, media_type in images]
        self._files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()

    async def read(self, path, *, limit):
        async with self.open(path) as reader:
            assert reader.size <= limit
            return b"".join([piece async for piece in reader])

    @asynccontextmanager
    async def open(self, path):
        if path not in self._files:
            raise ObjectNotFoundError(path)
        yield MemoryReader(self._files[path])


class MemoryReader(BlobReader):
    def __init__(self, content):
        self.size = self.length = len(content)
        self._content = content

    async def __aiter__(self):
        yield self._content


@pytest.fixture
def source():
    return Registries()


@pytest.fixture
def target():
    return Registries()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layout"


def write_layout(path, *manifests, blobs=(), **annotations):
    """Lay down manifests, listed in the index, and blobs; each under its digest."""
    entries = [descriptor(content, OCI, annotations=annotations) for content in manifests]
    for content in (*manifests, *blobs):
        file = path / blob_path(Digest.of(content))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def index_of(path):
    return json.loads((path / "index.json").read_text())["manifests"]


async def test_exported_repository_is_imported_unchanged(source, target, path):
    await source.push(APP, V1, b"a" * 3_000_000)
    await source.push(APP, V2, b"b")
    arm = await source.push(APP, None, b"c")
    index = image_index([arm, image_manifest(b"{}", [b"b"])])
    await source.registry.push_manifest(APP, index, media_types.OCI_INDEX, by=UNNAMED, tags=[Tag("multi")])

    done = await source.export(path, (APP, None))
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index_of(path)] == [
        "multi",
        "v1",
        "v2",
    ]
    assert (done.images, done.blobs, done.bytes_done) == (3, 8, done.bytes_expected)
    taken = await target.take_in(path)

    assert await registry_tree(target.services.storage) == await registry_tree(source.services.storage)
    assert list((await target.index.page(after="", limit=10)).items) == [APP]
    assert await broken_invariants(target.services, APP) == []
    assert [(image.name, image.tag) for image in taken.images] == [(APP, "multi"), (APP, "v1"), (APP, "v2")]
    assert await target.services.keys(layout.uploads(APP)) == set()


async def test_referrers_are_exported_on_request(source, target, path):
    manifest = await source.push(APP, V1, b"a")
    signature = await source.push(APP, None, subject=descriptor(manifest, OCI), artifactType="a/sig")
    await source.export(path, (APP, V1))
    assert len(index_of(path)) == 1
    await source.export(path, (APP, V1), with_referrers=True)
    assert [entry["digest"] for entry in index_of(path)] == [Digest.of(manifest), Digest.of(signature)]
    assert index_of(path)[1]["artifactType"] == "a/sig"
    await target.take_in(path)
    page = await target.registry.referrers.page(APP, Digest.of(manifest))
    assert [found.digest for found in page.items] == [Digest.of(signature)]


async def test_several_repositories_share_a_layout(source, target, path):
    await source.push(APP, V1, b"a")
    await source.push(OTHER, V1, b"b")
    await source.export(path, (APP, V1), (OTHER, V1))
    await target.take_in(path)
    assert await registry_tree(target.services.storage) == await registry_tree(source.services.storage)
    with pytest.raises(ImageLayoutError, match="two images for one:v1"):
        await target.take_in(path, RepositoryName("one"))


async def test_export_adds_to_a_layout_and_writes_no_file_again(source, path):
    await source.push(APP, V1, b"a")
    await source.export(path, (APP, V1))
    layer = path / blob_path(Digest.of(b"a"))
    before = layer.stat().st_mtime_ns
    (path / blob_path(Digest.of(b"{}"))).write_bytes(b"[]")
    await source.push(APP, V1, b"a", b"b")
    await source.push(APP, V2, b"a")
    await source.export(path, (APP, V1), (APP, V2))
    assert layer.stat().st_mtime_ns == before
    assert (path / blob_path(Digest.of(b"{}"))).read_bytes() == b"{}"
    assert [entry["digest"] for entry in index_of(path)] == [
        Digest.of(image_manifest(b"{}", [b"a", b"b"])),
        Digest.of(image_manifest(b"{}", [b"a"])),
    ]
    await source.push(OTHER, V1, b"c")
    with pytest.raises(ImageLayoutError, match="v1 of another repository"):
        await source.export(path, (OTHER, V1))


async def test_cached_repository_takes_no_images(source, target, path):
    await source.push(APP, V1)
    await source.push(OTHER, V1)
    await source.export(path, (APP, V1), (OTHER, V1))
    target.cached = {OTHER}
    with pytest.raises(CachedRepositoryError, match="other is a cache"):
        await target.take_in(path)
    assert await target.services.keys() == set()


async def test_image_exported_by_digest_is_imported_without_a_tag(source, target, path):
    manifest = await source.push(APP, V1, b"a")
    await source.export(path, (APP, Digest.of(manifest)))
    taken = await target.take_in(path)
    assert [(image.name, image.tag, image.digest) for image in taken.images] == [(APP, None, Digest.of(manifest))]
    await target.take_in(path, OTHER, V2)
    assert (await target.registry.manifests.get(OTHER, V2)).content == manifest


async def test_missing_image_cannot_be_exported(source, path):
    await source.push(APP, V1, b"a")
    with pytest.raises(ManifestUnknownError):
        await source.export(path, (APP, V2))
    with pytest.raises(NameUnknownError):
        await source.export(path, (OTHER, None))
    await source.services.blobs.unlink(APP, Digest.of(b"a"))
    with pytest.raises(BlobUnknownError):
        await source.export(path, (APP, V1))
    assert not (path / "index.json").exists()


async def test_damaged_blob_is_not_exported(source, path):
    await source.push(APP, V1, b"a")
    await source.services.storage.write(layout.blob_data(Digest.of(b"a")), b"b")
    with pytest.raises(ContentDamagedError):
        await source.export(path, (APP, V1))
    assert not (path / blob_path(Digest.of(b"a"))).exists()
    assert not (path / "index.json").exists()


async def test_import_heals_a_blob_that_is_known_to_be_damaged(source, target, path):
    await source.push(APP, V1, b"a")
    await source.export(path, (APP, V1))
    await target.take_in(path)
    await target.services.storage.write(layout.blob_data(Digest.of(b"a")), b"b")
    with pytest.raises(ContentDamagedError):
        await target.services.read_blob(APP, Digest.of(b"a"))
    await target.take_in(path)
    assert await target.services.read_blob(APP, Digest.of(b"a")) == b"a"


async def test_blob_under_a_wrong_link_is_not_exported(source, path):
    """The bytes are those that the link leads to, and not those of the digest that the image names."""
    await source.push(APP, V1, b"a")
    await source.services.push_blob(APP, b"b")
    link = layout.layer_link(APP, Digest.of(b"a"))
    await source.services.storage.write(link, Digest.of(b"b").encode())
    with pytest.raises(DigestMismatchError):
        await source.export(path, (APP, V1))
    assert not (path / "index.json").exists()


async def test_schema1_is_refused_by_name(source, path):
    payload = json.dumps({"schemaVersion": 1}).encode()
    digest = Digest.of(payload)
    await source.services.storage.write(layout.blob_data(digest), payload)
    await source.services.storage.write(layout.revision_link(APP, digest), digest.encode())
    with pytest.raises(UnsupportedError, match="schema 1"):
        await source.export(path, (APP, digest))


async def test_sparse_index_and_foreign_layer_are_exported_as_they_are(path):
    policy = ManifestPolicy(requires_child=lambda _child: False, allows_url=lambda _url: True)
    source, target = Registries(policy=policy), Registries(policy=policy)
    here = await source.push(APP, None, b"a")
    index = image_index([here, image_manifest(b"{}", [b"never pushed"])])
    await source.registry.push_manifest(APP, index, media_types.OCI_INDEX, by=UNNAMED, tags=[V1])
    foreign = descriptor(b"elsewhere", LAYER_MEDIA_TYPE, urls=["https://example.com/layer"])
    document = {**json.loads(image_manifest(b"{}")), "layers": [foreign]}
    await source.registry.push_manifest(APP, json.dumps(document).encode(), OCI, by=UNNAMED, tags=[V2])
    await source.export(path, (APP, None))
    await target.take_in(path)
    assert await registry_tree(target.services.storage) == await registry_tree(source.services.storage)


async def test_index_is_imported_without_the_child_that_the_layout_lacks(target):
    here, elsewhere = image_manifest(b"{}", [b"a"]), image_manifest(b"{}", [b"b"])
    index = image_index([elsewhere, here])
    blobs = (b"{}", b"a", here)
    async with MemoryImageLayout(*blobs, images=[(index, media_types.OCI_INDEX)]) as opened:
        with pytest.raises(ManifestBlobUnknownError):
            await target.take_in_from(opened, APP, V1)
        policy = ManifestPolicy(requires_child=lambda _child: False)
        sparse = Registries(policy=policy, storage=target.services.storage)
        taken = await sparse.take_in_from(opened, APP, V1)
    assert (taken.manifests, taken.blobs_sent, taken.blobs_present) == (2, 0, 2)
    assert (await sparse.registry.manifests.get(APP, V1)).content == index
    with pytest.raises(ManifestUnknownError):
        await sparse.registry.manifests.get(APP, Digest.of(elsewhere))


async def test_foreign_layer_is_not_read_from_the_layout():
    target = Registries(policy=ManifestPolicy(allows_url=lambda _url: True))
    foreign = descriptor(b"elsewhere", LAYER_MEDIA_TYPE, urls=["https://example.com/layer"])
    manifest = json.dumps({**json.loads(image_manifest(b"{}")), "layers": [foreign]}).encode()
    async with MemoryImageLayout(b"{}", images=[(manifest, OCI)]) as opened:
        taken = await target.take_in_from(opened, APP, V1)
    assert (taken.blobs_sent, taken.bytes_sent) == (1, len(b"{}"))
    assert (await target.registry.manifests.get(APP, V1)).content == manifest


async def test_blob_of_another_repository_is_mounted(source, target, path):
    await source.push(APP, V1, b"a")
    await source.export(path, (APP, V1))
    await target.push(OTHER, V1, b"a")
    taken = await target.take_in(path)
    assert (taken.blobs_sent, taken.blobs_present, taken.bytes_sent) == (0, 2, 0)


@pytest.mark.parametrize(
    ("annotations", "name", "tag"),
    [
        ({"org.opencontainers.image.ref.name": "v1"}, OTHER, "v1"),
        ({"org.opencontainers.image.ref.name": "registry.example:5000/team/app:v2"}, None, "v2"),
        ({"io.containerd.image.name": "docker.io/team/app:v3"}, None, "v3"),
        ({"io.containerd.image.name": "localhost/team/app:v4", "org.opencontainers.image.ref.name": "v4"}, None, "v4"),
        ({}, OTHER, None),
    ],
)
async def test_image_names_of_other_tools_are_parsed(target, path, annotations, name, tag):
    write_layout(path, image_manifest(b"{}"), blobs=[b"{}"], **annotations)
    taken = await target.take_in(path, name)
    assert [(image.name, image.tag) for image in taken.images] == [(name or APP, tag)]


async def test_image_without_a_repository_needs_one(target, path):
    write_layout(path, image_manifest(b"{}"), blobs=[b"{}"], **{"org.opencontainers.image.ref.name": "v1"})
    with pytest.raises(ImageLayoutError, match="give a repository"):
        await target.take_in(path)
    write_layout(path, image_manifest(b"{}"), image_manifest(b"{}", [b"{}"]), blobs=[b"{}"])
    with pytest.raises(ImageLayoutError, match="contains 2 images"):
        await target.take_in(path, APP, V1)


async def test_content_with_a_wrong_digest_is_never_imported(target, path):
    manifest = image_manifest(b"{}", [b"layer"])
    write_layout(path, manifest, blobs=[b"{}", b"layer"])
    (path / blob_path(Digest.of(b"layer"))).write_bytes(b"LAYER")
    with pytest.raises(DigestMismatchError):
        await target.take_in(path, APP)
    (path / blob_path(Digest.of(b"layer"))).write_bytes(b"a longer layer")
    with pytest.raises(SizeMismatchError):
        await target.take_in(path, APP)
    (path / blob_path(Digest.of(b"layer"))).unlink()
    with pytest.raises(ManifestBlobUnknownError):
        await target.take_in(path, APP)
    (path / blob_path(Digest.of(manifest))).write_bytes(manifest.replace(b"layers", b"LAYERS"))
    with pytest.raises(DigestMismatchError):
        await target.take_in(path, APP)
    (path / blob_path(Digest.of(manifest))).unlink()
    with pytest.raises(ImageLayoutError, match="does not contain the manifest"):
        await target.take_in(path, APP)
    assert {key for key in await target.services.keys(layout.BLOBS) if "/data" in key} == {
        layout.blob_data(Digest.of(b"{}"))
    }


async def test_manifest_beyond_the_limit_is_not_read_into_memory(target, path):
    manifest = b" " * (4 * 1024 * 1024 + 1)
    write_layout(path, manifest)
    with pytest.raises(ManifestInvalidError, match="too large"):
        await target.take_in(path, APP)


async def test_image_listed_twice_is_imported_once(source, target, path):
    manifest = await source.push(APP, None, b"a")
    index = image_index([manifest])
    await source.registry.push_manifest(APP, index, media_types.OCI_INDEX, by=UNNAMED, tags=[V1])
    signature = await source.push(APP, V2, subject=descriptor(index, media_types.OCI_INDEX), artifactType="a/sig")
    done = await source.export(path, (APP, V2), (APP, V1), (APP, Digest.of(manifest)), with_referrers=True)
    taken = await target.take_in(path)
    assert (done.images, taken.manifests) == (3, 3)
    assert Digest.of(signature) in {image.digest for image in taken.images}


async def test_depth_of_nested_indexes_is_limited(target, path):
    manifest = image_manifest(b"{}")
    nested = [manifest]
    for _ in range(12):
        entry = descriptor(nested[-1], OCI if len(nested) == 1 else media_types.OCI_INDEX)
        document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [entry]}
        nested.append(json.dumps(document).encode())
    write_layout(path, blobs=[b"{}", *nested])
    entry = descriptor(nested[-1], media_types.OCI_INDEX)
    (path / "index.json").write_text(json.dumps({"manifests": [entry]}))
    with pytest.raises(ManifestInvalidError, match="nested more than 8 levels"):
        await target.take_in(path, APP)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("oci-layout", None, "docker-archive"),
        ("oci-layout", '{"imageLayoutVersion": "2.0.0"}', "version '2.0.0'"),
        ("oci-layout", "x" * 100_000, "oci-layout is too large"),
        ("index.json", None, "has no index.json"),
        ("index.json", " " * (16 * 1024 * 1024 + 1), "index.json is too large"),
        ("index.json", "[]", "not a JSON object"),
        ("index.json", "{", "not valid JSON: Expecting property name"),
        ("index.json", "[" * 4_000 + "]" * 4_000, "not valid JSON: JSON nests deeper than 500 levels"),
        ("index.json", "{}", "lists no manifests"),
        ("index.json", '{"manifests": ["x"]}', "not a descriptor"),
        ("index.json", '{"manifests": [{"mediaType": "a", "digest": "b", "size": true}]}', "no valid mediaType"),
        ("index.json", '{"manifests": [{"mediaType": "a", "digest": "../b", "size": 1}]}', "an invalid digest"),
        (
            "index.json",
            '{"manifests": [{"mediaType": "a", "digest": "b", "size": 1, "annotations": {"a": 1}}]}',
            "annotations that are not strings",
        ),
    ],
)
async def test_malformed_layout_is_refused_with_the_reason(target, path, file, content, told):
    write_layout(path, image_manifest(b"{}"), blobs=[b"{}"])
    (path / file).unlink()
    if content is not None:
        (path / file).write_text(content)
    with pytest.raises(ImageLayoutError, match=told):
        await target.take_in(path, APP)

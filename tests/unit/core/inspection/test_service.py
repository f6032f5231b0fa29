"""Manifests in detail, read from a store."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ManifestUnknownError
from core.inspection.configs import read_config
from core.inspection.indexes import read_index
from core.inspection.service import (
    CONFIG_BYTES_MAX,
    Inspector,
    Shape,
    describe,
    describe_index,
    predicate_types,
)
from core.model.artifact_types import ArtifactKind
from core.model.digest import Digest
from core.model.manifest import StoredManifest, stored_media_type
from core.model.media_types import DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST
from core.store import layout
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.counted_requests import CountedStorage
from tests.support.summaries import NAME, SummarizedStore, inline

STATEMENT = "application/vnd.in-toto+json"


@pytest.fixture
def counted(storage):
    return CountedStorage(storage)


@pytest.fixture
def store(counted, time):
    return SummarizedStore(counted, time)


async def test_a_config_without_a_valid_digest_is_not_read(store):
    content = b'{"config": {"digest": "x", "mediaType": "a/json"}}'
    digest = Digest.of(content)

    async def manifest_of(_name, _digest):
        return StoredManifest(content=content, media_type="a/b", digest=digest)

    found = await Inspector(store.service(), manifest_of, offload=inline).inspect(NAME, digest)
    assert found.raw_config is None


@pytest.fixture
def inspector(store):
    async def manifest_of(name, digest):
        if not await store.service().holds(name, digest):
            raise ManifestUnknownError("manifest unknown")
        content = await store.storage.inner.read(layout.blob_data(digest))
        return StoredManifest(content=content, media_type=stored_media_type(content), digest=digest)

    return Inspector(store.service(), manifest_of, offload=inline)


def attestation(*predicates):
    layers = [
        descriptor(each.encode(), STATEMENT, annotations={"in-toto.io/predicate-type": each}) for each in predicates
    ]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(b"{}", "x/y"), "layers": layers}
    ).encode()


async def test_an_image_has_the_commands_of_its_layers(store, inspector):
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "history": [{"created_by": "COPY a /"}],
            "config": {"Labels": {"team": "x", "org.opencontainers.image.version": "1"}},
        }
    ).encode()
    await store.put_blob(config)
    digest = await store.put(image_manifest(config, [b"layer"], annotations={"a": "b"}))
    found = await inspector.inspect(NAME, digest)
    assert (found.shape, found.kind, found.artifact_type) == (Shape.IMAGE, None, "")
    [step] = found.steps
    assert (step.command, step.layer.size if step.layer else 0) == ("COPY a /", 5)
    assert found.known == [("version", "1")]
    assert found.labels.items == [("team", "x")]
    assert found.annotations.items == [("a", "b")]
    assert found.raw_config is not None


async def test_a_config_that_is_missing_too_large_or_damaged_is_not_shown(store, inspector):
    missing = await store.put(image_manifest(b"{}", [b"1"]))
    large = b'{"a": "' + b"x" * CONFIG_BYTES_MAX + b'"}'
    await store.put_blob(large)
    too_large = await store.put(image_manifest(large, [b"2"]))
    hidden = await store.put(image_manifest(large, [b"3"]).replace(str(len(large)).encode(), b"1"))
    await store.put_blob(b'{"d": 1}')
    await store.storage.inner.write(layout.blob_data(Digest.of(b'{"d": 1}')), b'{"d": 2}')
    damaged = await store.put(image_manifest(b'{"d": 1}', [b"4"]))
    for digest in (missing, too_large, hidden, damaged):
        found = await inspector.inspect(NAME, digest)
        assert found.raw_config is None
        assert not found.config.is_readable
        assert len(found.steps.items) == 1


async def test_a_large_config_is_processed_in_a_thread(store, inspector):
    config = json.dumps({"author": "x" * 100_000}).encode()
    await store.put_blob(config)
    found = await inspector.inspect(NAME, await store.put(image_manifest(config)))
    assert found.config.author.startswith("xxx")


async def test_an_index_has_platforms_and_attestations(store, inspector):
    config = json.dumps({"os": "linux", "architecture": "arm64"}).encode()
    await store.put_blob(config)
    image, statement = image_manifest(config, [b"layer"]), attestation("https://slsa.dev/provenance/v1")
    await store.put(image)
    await store.put(statement)
    document = json.loads(image_index([image, statement, attestation("gone")]))
    unknown = {"os": "unknown", "architecture": "unknown"}
    for each in document["manifests"][1:]:
        each["platform"] = unknown
    found = await inspector.inspect(NAME, await store.put(json.dumps(document).encode()))
    assert found.index is not None
    assert found.shape is Shape.INDEX
    [entry] = found.index.images
    assert (entry.platform, entry.is_held) == ("linux/arm64", True)
    assert [entry.is_held for entry in found.index.attestations] == [True, False]
    assert found.predicates == {Digest.of(statement): ["https://slsa.dev/provenance/v1"]}


async def test_a_manifest_of_another_repository_is_not_described(store, inspector):
    secret = await store.put(attestation("secret"), name=NAME + "2")
    document = json.loads(image_index([attestation("secret")]))
    found = await inspector.inspect(NAME, await store.put(json.dumps(document).encode()))
    assert found.index is not None
    [entry] = found.index.others
    assert (entry.digest, entry.is_held, found.predicates) == (secret, False, {})


async def test_an_attestation_that_vanished_has_no_predicates(store):
    statement = attestation("https://slsa.dev/provenance/v1")
    await store.put(statement)
    document = json.loads(image_index([statement]))
    document["manifests"][0]["platform"] = {"os": "unknown", "architecture": "unknown"}
    index = json.dumps(document).encode()
    digest = await store.put(index)

    async def manifest_of(_name, wanted):
        if wanted != digest:
            raise ManifestUnknownError("manifest unknown")
        return StoredManifest(content=index, media_type=OCI_INDEX, digest=digest)

    found = await Inspector(store.service(), manifest_of, offload=inline).inspect(NAME, digest)
    assert found.predicates == {Digest.of(statement): ()}


def stored(document, media_type=OCI_MANIFEST):
    content = json.dumps(document).encode()
    return StoredManifest(content=content, media_type=media_type, digest=Digest.of(content))


def test_a_signature_with_the_config_of_an_image_is_an_artifact():
    layer = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": "d", "size": 3}
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "c", "size": 2}
    found = describe(stored({"config": config, "layers": [layer]}), b"{}", None)
    assert (found.shape, found.kind) == (Shape.ARTIFACT, ArtifactKind.COSIGN_SIGNATURE)
    assert [file.digest for file in found.files] == ["d"]


def test_an_artifact_without_a_known_type_has_its_media_type():
    found = describe(stored({"artifactType": "x/y", "subject": {"digest": "s"}}), None, None)
    assert (found.shape, found.kind, found.artifact_type, found.subject) == (Shape.ARTIFACT, None, "x/y", "s")
    assert found.config_blob is None


def test_schema_1_is_named():
    assert describe(stored({"schemaVersion": 1}, DOCKER_SCHEMA1), None, None).shape is Shape.SCHEMA1


def test_predicate_types_are_distinct():
    document = json.loads(attestation("a", "b", "a"))
    layers = describe(stored(document), None, None).layers
    assert predicate_types(layers) == ["a", "b"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_KEYS = st.one_of(
    st.sampled_from(["config", "layers", "blobs", "manifests", "history", "annotations", "subject", "mediaType"]),
    st.sampled_from(["digest", "size", "platform", "os", "architecture", "created_by", "comment", "empty_layer"]),
    st.sampled_from(["Env", "Cmd", "Entrypoint", "User", "ExposedPorts", "Volumes", "WorkingDir", "author"]),
    st.sampled_from(["artifactType", "variant", "os.version"]),
)
_OBJECTS = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=20
)


@given(manifest=_OBJECTS, config=_OBJECTS)
def test_any_documents_become_a_page(manifest, config):
    for media_type in (OCI_MANIFEST, DOCKER_SCHEMA1):
        found = describe(stored(manifest, media_type), json.dumps(config).encode(), None)
        assert found.raw.text.encode()
    document = manifest if isinstance(manifest, dict) else {}
    index = stored(document, OCI_INDEX)
    assert describe_index(index, None, read_index(document, None, {}), {}).shape is Shape.INDEX


@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_config(content):
    assert isinstance(read_config(content).is_readable, bool)


async def test_an_image_that_is_known_costs_two_requests_besides_its_manifest(store):
    image = await store.put_image("web", layers=[b"layer"])
    content = await store.storage.inner.read(layout.blob_data(image))

    async def manifest_of(_name, digest):
        return StoredManifest(content=content, media_type=OCI_MANIFEST, digest=digest)

    inspector = Inspector(store.service(), manifest_of, offload=inline)
    await inspector.inspect(NAME, image)
    store.storage.count()
    found = await inspector.inspect(NAME, image)
    assert (found.labels.items, store.storage.count()) == ([("l", "web")], 2)


async def test_a_large_index_is_processed_in_a_thread(store):
    entry = json.loads(image_index([image_manifest()]))["manifests"][0] | {"annotations": {"a": "x" * 70_000}}
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    digest = await store.put(content)
    offloaded = []

    async def offload(function, *arguments):
        offloaded.append(function.__name__)
        return function(*arguments)

    async def manifest_of(_name, _digest):
        return StoredManifest(content=content, media_type=OCI_INDEX, digest=digest)

    found = await Inspector(store.service(), manifest_of, offload=offload).inspect(NAME, digest)
    assert found.index is not None
    assert (len(found.index.others.items), offloaded.count("describe_index")) == (1, 1)

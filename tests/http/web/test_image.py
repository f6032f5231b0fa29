"""The page of an image, an index or an artifact."""

import json
from typing import Any

import pytest

from adapters.upstream.memory import InMemoryUpstream
from core.model.digest import Digest
from core.model.media_types import OCI_INDEX, OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from core.store import layout
from core.store.links import Links
from core.store.tag_links import TagLinks
from entrypoints.web.rendering import load_catalog
from tests.http.conftest import Api
from tests.http.web.conftest import Visitor
from tests.support.content import CONFIG_MEDIA_TYPE, LAYER_MEDIA_TYPE, descriptor, image_index, image_manifest

SCRIPT = "<script>alert(1)</script>"


async def push(api: Api, name: str, reference: str, content: bytes, media_type: str = OCI_MANIFEST) -> Digest:
    """Push a manifest by tag, or by digest without one."""
    digest = Digest.of(content)
    await api.push_manifest(name, reference or digest, content, media_type)
    return digest


async def push_image(api: Api, name: str, tag: str, *layers: bytes, config: dict[str, Any] | None = None) -> bytes:
    """Push an image for linux/amd64, and return its manifest."""
    document = {"os": "linux", "architecture": "amd64", **(config or {})}
    content = json.dumps(document).encode()
    for blob in (content, *layers):
        await api.push_blob(name, blob)
    manifest = image_manifest(content, layers)
    await push(api, name, tag, manifest)
    return manifest


async def test_an_image_shows_its_layers_with_their_commands(visitor):
    config = {
        "history": [{"created_by": "/bin/sh -c #(nop) COPY a /"}, {"created_by": "ENV A=b", "empty_layer": True}],
        "config": {
            "Env": ["A=b"],
            "Cmd": ["run", "two words"],
            "Labels": {"org.opencontainers.image.source": "https://git.example.com/a", "team": "x"},
        },
    }
    manifest = await push_image(visitor.api, "team/app", "v1", b"layer", config=config)
    page = await visitor.open("team/app/_tags/v1")
    assert page.status == 200
    for text in ("COPY a /", "ENV A=b", "no layer", "A=b", "run 'two words'", "team x", "linux/amd64", "5 B"):
        assert text in page.text
    assert "#(nop)" not in page.text.partition("Raw documents")[0]
    assert "https://git.example.com/a" in page.links
    assert f"docker pull 127.0.0.1:{visitor.api.root.rpartition(':')[2]}/team/app@{Digest.of(manifest)}" in page.text
    by_digest = await visitor.open(f"team/app/_manifests/{Digest.of(manifest)}")
    assert (by_digest.status, "v1" in by_digest.text) == (200, True)


async def test_an_index_shows_platforms_attestations_and_what_is_missing(visitor):
    api = visitor.api
    image = await push_image(api, "team/app", "one", b"layer")
    statement = {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
    await api.push_blob("team/app", b"{}")
    layer = descriptor(b"{}", "application/vnd.in-toto+json", annotations=statement)
    attestation = image_manifest(b"{}", layers=[]).replace(
        b'"layers": []', b'"layers": ' + json.dumps([layer]).encode()
    )
    await push(api, "team/app", "", attestation)
    other = await push_image(api, "team/app", "two", b"other")
    index = json.loads(image_index([image, other, attestation]))
    platforms = [("linux", "amd64"), ("linux", "arm64"), ("unknown", "unknown")]
    for each, (system, architecture) in zip(index["manifests"], platforms, strict=True):
        each["platform"] = {"os": system, "architecture": architecture}
    index["manifests"][2]["annotations"] = {"vnd.docker.reference.digest": Digest.of(image)}
    await push(api, "team/app", "latest", json.dumps(index).encode(), OCI_INDEX)
    link = layout.revision_link(RepositoryName("team/app"), Digest.of(other))
    await api.services.storage.delete([link])
    page = await visitor.open("team/app/_tags/latest")
    assert page.status == 200
    for text in ("linux/amd64", "linux/arm64", "missing", "Provenance (SLSA)", "incomplete"):
        assert text in page.text
    assert "unknown" not in page.text.partition("Raw documents")[0]
    assert f"/ui/team/app/_manifests/{Digest.of(image)}" in page.links
    assert f"/ui/team/app/_manifests/{Digest.of(other)}" not in page.links


async def test_an_artifact_shows_its_files(visitor):
    config = b'{"name": "app"}'
    for blob in (config, b"chart"):
        await visitor.api.push_blob("charts/app", blob)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, "application/vnd.cncf.helm.config.v1+json"),
        "layers": [descriptor(b"chart", "a/b", annotations={"org.opencontainers.image.title": "app.tgz"})],
    }
    await push(visitor.api, "charts/app", "1.0_x", json.dumps(document).encode())
    page = await visitor.open("charts/app/_tags/1.0_x")
    for text in ("Helm chart", "app.tgz", "helm pull", "1.0+x"):
        assert text in page.text


async def test_hostile_texts_are_shown_as_text(visitor):
    config = {
        "author": SCRIPT,
        "history": [{"created_by": SCRIPT, "comment": SCRIPT}],
        "config": {
            "User": SCRIPT,
            "Env": [SCRIPT],
            "Cmd": [SCRIPT],
            "Labels": {SCRIPT: SCRIPT, "a": 'javascript:alert("1")', "org.opencontainers.image.url": "javascript:x"},
        },
    }
    await push_image(visitor.api, "team/app", "v1", b"layer", config=config)
    page = await visitor.open("team/app/_tags/v1")
    assert SCRIPT in page.text
    assert SCRIPT not in page.html
    assert not [link for link in page.links if link.startswith("javascript")]


@pytest.mark.parametrize(
    "config",
    [b"[" * 100_000, b'{"history": {"a": 1}, "config": [1]}', b"\xff", b'{"a": "' + b"x" * 4_000_000 + b'"}'],
    ids=["deep", "types", "bytes", "large"],
)
async def test_hostile_configs_give_a_page(visitor, config):
    await visitor.api.services.push_blob(RepositoryName("team/app"), config)
    await push(visitor.api, "team/app", "v1", image_manifest(config))
    page = await visitor.open("team/app/_tags/v1")
    assert page.status == 200
    assert len(page.html) < 200_000


async def test_a_page_of_many_layers_is_bounded(visitor):
    config = {"history": [{"created_by": "RUN " + "x" * 2_000}] * 300}
    await push_image(visitor.api, "team/app", "v1", b"layer", config=config)
    page = await visitor.open("team/app/_tags/v1")
    assert len(page.html) < 200_000
    assert "more are not shown here" in page.text


async def test_schema_1_is_explained(visitor):
    api, name = visitor.api, RepositoryName("old/app")
    await push_image(api, name, "new", b"layer")
    content = json.dumps({"schemaVersion": 1, "name": name, "tag": "v1", "fsLayers": [], "history": []}).encode()
    digest = Digest.of(content)
    await api.services.storage.write(layout.blob_data(digest), content)
    await api.services.storage.write(layout.revision_link(name, digest), digest.encode())
    page = await visitor.open(f"old/app/_manifests/{digest}")
    assert page.status == 200
    assert "Docker schema 1" in page.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("team/app/_tags/nothing", 404),
        (f"team/app/_manifests/{Digest.of(b'nothing')}", 404),
        ("team/nothing/_tags/v1", 404),
        ("team/app/_tags/-", 400),
        ("team/app/_manifests/x", 400),
    ],
)
async def test_what_does_not_exist_is_not_found(visitor, path, status):
    await push_image(visitor.api, "team/app", "v1", b"layer")
    assert (await visitor.open(path)).status == status


async def test_only_who_may_pull_sees_an_image(start_with_users):
    api = await start_with_users()
    visitor = Visitor(api)
    for path in ("private/app/_tags/v1", "private/nothing/_tags/v1"):
        assert "_sign-in" in (await visitor.open(path)).path
    await visitor.sign_in("bob", "b")
    statuses = {(await visitor.open(path)).status for path in ("private/app/_tags/v1", "private/nothing/_tags/v1")}
    assert statuses == {403}


async def test_the_page_is_chinese(visitor):
    await push_image(visitor.api, "team/app", "v1", b"layer")
    visitor.language = "zh"
    page = await visitor.open("team/app/_tags/v1")
    assert "运行配置" in page.text
    assert LAYER_MEDIA_TYPE in page.text
    assert CONFIG_MEDIA_TYPE in page.text
    assert load_catalog("zh").get("Layers").string == "层"  # type: ignore[union-attr]


async def attach(api: Api, name: str, subject: bytes, artifact_type: str, **annotations: str) -> bytes:
    """Push an artifact that refers to a manifest, and return it."""
    await api.push_blob(name, b"{}")
    artifact = image_manifest(
        b"{}", subject=descriptor(subject, OCI_MANIFEST), artifactType=artifact_type, annotations=annotations
    )
    await push(api, name, "", artifact)
    return artifact


async def test_referrers_are_a_tree_under_common_names(visitor):
    api = visitor.api
    image = await push_image(api, "team/app", "v1", b"layer")
    sbom = await attach(api, "team/app", image, "application/spdx+json", note=SCRIPT)
    signature = await attach(api, "team/app", sbom, "application/vnd.cncf.notary.signature")
    other = await attach(api, "team/app", image, "application/vnd.example.report")
    tag = f"sha256-{Digest.of(image).encoded}.sig"
    await push_image(api, "team/app", tag, b"signature")
    page = await visitor.open("team/app/_tags/v1")
    for text in ("SBOM (SPDX)", "Signature (Notation)", "application/vnd.example.report", "Signature (Cosign)", tag):
        assert text in page.text
    assert "has a signature" in page.text
    for each in (sbom, signature, other):
        assert f"/ui/team/app/_manifests/{Digest.of(each)}" in page.links
    page = await visitor.open(f"team/app/_manifests/{Digest.of(sbom)}")
    assert f"/ui/team/app/_manifests/{Digest.of(image)}" in page.links
    assert SCRIPT in page.text
    assert SCRIPT not in page.html


async def test_layers_name_the_other_tags_that_have_them(visitor):
    api = visitor.api
    await push_image(api, "team/app", "v1", b"base", b"one")
    image = await push_image(api, "team/app", "v2", b"base", b"two")
    await push(api, "team/app", "all", image_index([image]), OCI_INDEX)
    await push_image(api, "other/app", "elsewhere", b"base")
    page = await visitor.open("team/app/_tags/v2")
    assert page.links.count("/ui/team/app/_tags/v1") == 1
    assert page.links.count("/ui/team/app/_tags/all") == 1, "as the index of the image only"
    assert "elsewhere" not in page.text
    assert any("_search?q=digest" in link and str(Digest.of(b"base")).partition(":")[2] in link for link in page.links)


async def test_an_image_of_an_index_names_the_tags_of_the_index(visitor):
    api = visitor.api
    image = await push_image(api, "team/app", "one", b"layer")
    await push(api, "team/app", "all", image_index([image]), OCI_INDEX)
    page = await visitor.open("team/app/_tags/one")
    assert "Part of all" in page.text


async def test_a_page_of_a_cached_image_names_the_upstream_and_fetches_nothing(start):
    upstream = InMemoryUpstream("docker.io")
    api = await start(origins=Origins([(UpstreamRules(prefix="docker.io"), upstream)]))
    visitor = Visitor(api)
    config = b'{"os": "linux", "architecture": "amd64"}'
    services, name = api.services, RepositoryName("docker.io/library/alpine")
    content = image_manifest(config, [b"layer"])
    digest = Digest.of(content)
    await services.storage.write(layout.blob_data(digest), content)
    await services.storage.write(layout.revision_link(name, digest), digest.encode())
    await TagLinks(services.storage, Links(services.storage)).point(name, Tag("3"), digest)
    page = await visitor.open(f"{name}/_tags/3")
    assert page.status == 200
    assert "It comes from docker.io/library/alpine" in page.text
    assert "The cache does not hold the config" in page.text
    assert "oras attach" not in page.text, "the cache refuses pushes"
    missing = await visitor.open(f"{name}/_manifests/{Digest.of(b'other')}")
    assert (missing.status, "the cache does not hold this manifest" in missing.text) == (404, True)


async def test_a_tag_links_to_its_history_and_to_its_deletion_for_those_who_may(start_with_users):
    api = await start_with_users()
    visitor = Visitor(api)
    await visitor.sign_in("alice", "secret")
    await push_stored(api, "public/app", "v1")
    page = await visitor.open("public/app/_tags/v1")
    assert {"/ui/public/app/_history/v1", "/ui/public/app/_delete?tag=v1"} <= set(page.links)
    page = await Visitor(api).open("public/app/_tags/v1")
    assert "/ui/public/app/_history/v1" in page.links
    assert not any("_delete" in link for link in page.links)


async def push_stored(api: Api, name: str, tag: str) -> None:
    """Store an image without the API, which requires rights."""
    storage, repository = api.services.storage, RepositoryName(name)
    content = image_manifest(b"{}")
    digest = Digest.of(content)
    await storage.write(layout.blob_data(digest), content)
    await storage.write(layout.revision_link(repository, digest), digest.encode())
    await TagLinks(storage, Links(storage)).point(repository, Tag(tag), digest)

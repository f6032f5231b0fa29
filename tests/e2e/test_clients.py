"""The usual command-line clients push, pull, copy, list, inspect, sign and delete."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clients import (
    CLIENTS,
    Buildah,
    CommandLineClient,
    Crane,
    Oras,
    Podman,
    Regctl,
    Skopeo,
)
from tests.support.oci import make_artifact, make_image, make_multi_platform_index, write_layout
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

NewClient = Callable[[type[CommandLineClient]], CommandLineClient]
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"


@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.program)
def test_image_survives_push_and_pull(kind: type[CommandLineClient], new_client: NewClient, tmp_path: Path) -> None:
    image = make_image(1, layer_sizes=(10_000, 300_000))
    layout = write_layout(tmp_path / "layout", image, "v1")
    name = f"round-trip/{kind.program}:v1"

    new_client(kind).push(layout, "v1", name)

    assert new_client(kind).pull(name) == image.blobs[0].digest


@pytest.mark.parametrize("kind", [Skopeo, Crane, Oras, Regctl], ids=lambda kind: kind.program)
def test_index_is_pushed_with_its_images(
    kind: type[CommandLineClient], new_client: NewClient, registry: RegistryClient, tmp_path: Path
) -> None:
    index = make_multi_platform_index(2)
    layout = write_layout(tmp_path / "layout", index, "v1")
    repository = f"index/{kind.program}"

    new_client(kind).push(layout, "v1", f"{repository}:v1")

    pulled = registry.pull(repository, "v1")
    assert {index.digest, *(image.digest for image in index.images)} <= pulled.keys()


@pytest.mark.parametrize("media_type", ["oci", "v2s2"])
def test_skopeo_pushes_both_formats(
    media_type: str, new_client: NewClient, registry: RegistryClient, tmp_path: Path
) -> None:
    layout = write_layout(tmp_path / "layout", make_image(3), "v1")
    skopeo = new_client(Skopeo)
    target = f"docker://{skopeo.reference(f'format/{media_type}:v1')}"
    options = ("--insecure-policy", "copy", f"--format={media_type}", "--dest-tls-verify=false")

    skopeo.run(*options, f"oci:{layout}:v1", target)

    assert len(registry.pull(f"format/{media_type}", "v1")) == 4


def test_skopeo_lists_inspects_and_deletes(new_client: NewClient, registry: RegistryClient) -> None:
    image = make_image(4)
    for tag in ("v1", "v2"):
        registry.push("skopeo/verbs", tag, image)
    registry.push("skopeo/verbs", "other", make_image(5))
    skopeo = new_client(Skopeo)
    target = f"docker://{skopeo.reference('skopeo/verbs')}"

    tags = json.loads(skopeo.run("list-tags", "--tls-verify=false", target))["Tags"]
    inspected = json.loads(skopeo.run("inspect", "--tls-verify=false", f"{target}:v1"))
    skopeo.run("delete", "--tls-verify=false", f"{target}:v1")

    assert tags == ["other", "v1", "v2"]
    assert inspected["Digest"] == image.digest
    # skopeo resolves the tag and deletes by digest, which takes every tag of that manifest along.
    assert registry.tags("skopeo/verbs") == ["other"]


def test_skopeo_copies_between_repositories(new_client: NewClient, registry: RegistryClient) -> None:
    image = make_image(6)
    registry.push("skopeo/source", "v1", image)
    skopeo = new_client(Skopeo)
    source, target = (f"docker://{skopeo.reference(f'skopeo/{name}:v1')}" for name in ("source", "target"))

    skopeo.run("--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", source, target)

    assert registry.pull("skopeo/target", "v1") == registry.pull("skopeo/source", "v1")


def test_podman_builds_and_pushes(new_client: NewClient, registry: RegistryClient) -> None:
    podman = new_client(Podman)
    (podman.home / "Containerfile").write_text("FROM scratch\nCOPY Containerfile /\nLABEL made=here\n")

    podman.run("build", "--isolation=chroot", "--tag", "built", str(podman.home))
    podman.run("push", "--tls-verify=false", "built", podman.reference("podman/built:v1"))

    assert len(registry.pull("podman/built", "v1")) == 3


def test_buildah_commits_into_the_registry(new_client: NewClient, registry: RegistryClient) -> None:
    buildah = new_client(Buildah)
    (buildah.home / "file").write_text("content")
    container = buildah.run("from", "scratch").strip()
    buildah.run("copy", container, str(buildah.home / "file"), "/file")

    target = f"docker://{buildah.reference('buildah/built:v1')}"
    buildah.run("commit", "--tls-verify=false", container, target)

    assert len(registry.pull("buildah/built", "v1")) == 3


def test_crane_lists_copies_tags_and_deletes(new_client: NewClient, registry: RegistryClient) -> None:
    image = make_image(7)
    registry.push("crane/verbs", "v1", image)
    crane = new_client(Crane)

    crane.run("copy", crane.reference("crane/verbs:v1"), crane.reference("crane/copied:v1"))
    crane.run("tag", crane.reference("crane/verbs:v1"), "v2")

    assert crane.run("digest", crane.reference("crane/copied:v1")).strip() == image.digest
    assert crane.run("manifest", crane.reference("crane/verbs:v1")).encode() == image.manifest.data
    assert crane.run("ls", crane.reference("crane/verbs")).split() == ["v1", "v2"]
    assert {"crane/copied", "crane/verbs"} <= set(crane.run("catalog", crane.host).split())
    crane.run("delete", crane.reference("crane/verbs:v1"))
    assert registry.tags("crane/verbs") == ["v2"]


def test_oras_discovers_what_it_attached(new_client: NewClient, registry: RegistryClient) -> None:
    image = make_image(8)
    registry.push("oras/attach", "v1", image)
    oras = new_client(Oras)
    (oras.home / "sbom.json").write_text("{}")
    subject = oras.reference("oras/attach:v1")

    oras.run("attach", "--plain-http", "--artifact-type", "application/spdx+json", subject, "sbom.json")
    found = json.loads(oras.run("discover", "--plain-http", "--format", "json", subject))

    referrers = found.get("referrers") or found.get("manifests")
    assert [referrer["artifactType"] for referrer in referrers] == ["application/spdx+json"]
    assert [entry["digest"] for entry in registry.referrers("oras/attach", image.digest)] == [referrers[0]["digest"]]
    # No fallback tag: the client saw that the registry answers referrers itself.
    assert registry.tags("oras/attach") == ["v1"]


def test_oras_pulls_the_files_it_pushed(new_client: NewClient) -> None:
    oras = new_client(Oras)
    (oras.home / "data.txt").write_text("as it was")
    oras.run("push", "--plain-http", oras.reference("oras/files:v1"), "data.txt:text/plain")

    other = new_client(Oras)
    other.run("pull", "--plain-http", other.reference("oras/files:v1"))

    assert (other.home / "data.txt").read_text() == "as it was"


def test_regctl_lists_and_deletes_tags(new_client: NewClient, registry: RegistryClient) -> None:
    image = make_image(9)
    for tag in ("v1", "v2"):
        registry.push("regctl/verbs", tag, image)
    regctl = new_client(Regctl)

    regctl.run("tag", "delete", regctl.reference("regctl/verbs:v1"))

    assert regctl.run("tag", "ls", regctl.reference("regctl/verbs")).split() == ["v2"]
    assert regctl.run("image", "digest", regctl.reference("regctl/verbs:v2")).strip() == image.digest


def test_regctl_lists_the_artifact_it_put(new_client: NewClient, registry: RegistryClient) -> None:
    image = make_image(10)
    registry.push("regctl/artifact", "v1", image)
    regctl = new_client(Regctl)
    (regctl.home / "note.txt").write_text("a note")
    subject = regctl.reference("regctl/artifact:v1")

    put = ("artifact", "put", "--subject", subject, "--artifact-type", "application/x-note")
    regctl.run(*put, "--file", str(regctl.home / "note.txt"))
    listed = json.loads(regctl.run("artifact", "list", "--format", "{{json .}}", subject))

    assert [entry["artifactType"] for entry in listed["descriptors"]] == ["application/x-note"]


def test_signature_by_subject_is_found(registry: RegistryClient) -> None:
    image = make_image(11)
    signature = make_artifact(b"signed", artifact_type=SIGNATURE, subject=image.manifest)
    registry.push("signed/image", "v1", image)

    for blob in signature.blobs:
        registry.push_blob("signed/image", blob.data)
    answer = registry.push_manifest("signed/image", signature.digest, signature.manifest)

    assert answer.header("OCI-Subject") == image.digest
    [found] = registry.referrers("signed/image", image.digest)
    assert found["digest"] == signature.digest
    assert found["artifactType"] == SIGNATURE
    assert found["annotations"] == {"org.example.payload": signature.blobs[1].digest}


def test_regctl_copies_an_image_with_its_referrers(new_client: NewClient, registry: RegistryClient) -> None:
    image = make_image(12)
    registry.push("referrers/source", "v1", image)
    registry.push("referrers/source", "sig", make_artifact(b"s", artifact_type=SIGNATURE, subject=image.manifest))
    regctl = new_client(Regctl)
    source, target = (regctl.reference(f"referrers/{name}:v1") for name in ("source", "target"))

    regctl.run("image", "copy", "--referrers", source, target)

    copied, original = (registry.referrers(f"referrers/{name}", image.digest) for name in ("target", "source"))
    assert copied == original
    assert len(copied) == 1

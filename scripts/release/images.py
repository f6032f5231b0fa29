"""The container image for each platform, its attachments, and the archive that holds all of them.

Programs of the Dockerfile run in its stage `build` only, on the processor of this machine, so no emulation is needed.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.release.archives import pack_folder
from scripts.release.errors import ReleaseError
from scripts.release.programs import run
from scripts.release.project import NAME, Commit
from scripts.release.provenance import PREDICATE_TYPE

PYTHON_PLATFORMS: Final = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
"""The platform of the Python packages for each processor, in the words of uv."""
_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
_PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64"}
ATTACHMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "application/vnd.cyclonedx+json": {},
    "application/vnd.in-toto+json": {"predicateType": PREDICATE_TYPE},
}
"""The annotations of each attachment, by its artifact type; by the second, pages and clients recognize provenance."""


@dataclass(frozen=True)
class Base:
    """A base image: its name without a tag, its digest, and the digest of its image for each processor."""

    name: str
    digest: str
    images: Mapping[str, str]

    @property
    def reference(self) -> str:
        """Return the name with the digest."""
        return f"{self.name}@{self.digest}"

    @property
    def for_this_machine(self) -> str:
        """Return the reference of the image that runs here."""
        processor = this_processor()
        if processor not in self.images:
            raise ReleaseError(f"the base image {self.reference} has no image for this machine (linux/{processor})")
        return f"{self.name}@{self.images[processor]}"


def this_processor() -> str:
    """Return the processor of this machine in the words of OCI."""
    machine = platform.machine()
    return _PROCESSORS.get(machine, machine)


def transport(reference: str, prefix: str = "") -> list[str]:
    """Return oras' option for a registry without TLS, which only one on this machine may be."""
    return [f"--{prefix}plain-http"] if reference.partition(":")[0] in {"127.0.0.1", "localhost"} else []


def find_base(reference: str, processors: Sequence[str]) -> Base:
    """Find the digests of a base image in its registry, so that a tag that moves changes nothing during the build.

    Raises:
        ReleaseError: the registry does not answer, or has no such image for any of the processors.
    """
    options = transport(reference)
    digest = run("oras", "resolve", *options, reference).strip()
    name = reference.partition("@")[0]
    folder, _, last = name.rpartition("/")
    name = f"{folder}/{last.partition(':')[0]}" if folder else last.partition(":")[0]
    document = json.loads(run("oras", "manifest", "fetch", *options, f"{name}@{digest}"))
    if "manifests" in document:
        images = _images_of(document["manifests"])
    else:
        settings = json.loads(run("oras", "manifest", "fetch-config", *options, f"{name}@{digest}"))
        images = {settings["architecture"]: digest}
    images = {processor: images[processor] for processor in processors if processor in images}
    if not images:
        raise ReleaseError(f"the base image {reference} has no image for {', '.join(processors)}")
    return Base(name, digest, images)


def _images_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the digest for each processor; BuildKit's attestations have the platform `unknown`."""
    return {
        entry["platform"]["architecture"]: entry["digest"]
        for entry in entries
        if entry.get("platform", {}).get("os") == "linux"
    }


def build(source: Path, commit: Commit, base: Base, host: str, scratch: Path, *, mirror: str | None) -> dict[str, str]:
    """Build the image for each processor of the base, and push all under the tag of the version.

    Args:
        source: a folder with the files of the commit.
        commit: supplies the version, and the time of every file.
        base: the base image.
        host: the registry that receives the image.
        scratch: a folder for files of this function.
        mirror: a mirror of PyPI.

    Returns:
        The digest of the tag, by the empty name, and the digest of each platform.
    """
    insecure = ["--tls-verify=false"] if transport(base.name) else []
    common = ["--format=docker", f"--timestamp={commit.seconds}", *insecure]
    common += _arguments(
        BASE_IMAGE=base.reference,
        BUILD_BASE=base.for_this_machine,
        VERSION=commit.version,
        REVISION=commit.revision,
        CREATED=commit.time,
        PIP_INDEX_URL=mirror,
    )
    entries = []
    for processor in base.images:
        # A name of its own, which no earlier run has left in the store of buildah.
        local, pushed = f"localhost/{NAME}:{commit.version}-{processor}-{os.getpid()}", f"{host}/{NAME}:{processor}"
        chosen = [f"--platform=linux/{processor}", *_arguments(PYTHON_PLATFORM=PYTHON_PLATFORMS[processor])]
        run("buildah", "build", *common, *chosen, f"--tag={local}", source)
        run("buildah", "push", "--quiet", "--tls-verify=false", "--format=v2s2", local, f"docker://{pushed}")
        run("buildah", "rmi", local)
        entry = _reproducible(pushed, scratch)
        entries.append({**entry, "platform": {"architecture": processor, "os": "linux"}})
    tagged = f"{host}/{NAME}:{commit.version}"
    if len(entries) == 1:
        run("oras", "tag", "--plain-http", f"{host}/{NAME}@{entries[0]['digest']}", commit.version)
        return {"": entries[0]["digest"]}
    index = {"schemaVersion": 2, "mediaType": _LIST_TYPE, "manifests": entries}
    digest = _push_manifest(tagged, index, scratch)["digest"]
    return {"": digest, **{f"linux/{entry['platform']['architecture']}": entry["digest"] for entry in entries}}


def _reproducible(pushed: str, scratch: Path) -> dict[str, Any]:
    """Push an image again without the names of the containers that built it, and return its descriptor."""
    name = pushed.rpartition(":")[0]
    manifest = json.loads(run("oras", "manifest", "fetch", "--plain-http", pushed))
    config = json.loads(run("oras", "manifest", "fetch-config", "--plain-http", pushed))
    path = scratch / "config.json"
    path.write_text(json.dumps(without_containers(config), separators=(",", ":")))
    media_type = manifest["config"]["mediaType"]
    options = ("--plain-http", "--descriptor", f"--media-type={media_type}", name, path)
    manifest["config"] = json.loads(run("oras", "blob", "push", *options))
    return _push_manifest(name, manifest, scratch)


def without_containers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of an image in Docker's format without the random names that buildah records there."""
    left = {name: value for name, value in config.items() if name not in {"container", "container_config"}}
    left["config"] = {name: value for name, value in config["config"].items() if name != "Hostname"}
    left["history"] = [
        {name: value for name, value in step.items() if name != "comment"} for step in config.get("history", [])
    ]
    return left


def _push_manifest(target: str, manifest: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Push a manifest to a tag, or by its digest to a repository, and return its descriptor."""
    path = scratch / "manifest.json"
    path.write_text(json.dumps(manifest, separators=(",", ":")))
    content = path.read_bytes()
    entry = {
        "mediaType": manifest["mediaType"],
        "size": len(content),
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }
    reference = target if ":" in target.rpartition("/")[2] else f"{target}@{entry['digest']}"
    run("oras", "manifest", "push", "--plain-http", f"--media-type={entry['mediaType']}", reference, path)
    return entry


def _arguments(**values: str | None) -> list[str]:
    return [f"--build-arg={name}={value}" for name, value in values.items() if value]


def attach(host: str, digests: Mapping[str, str], files: Mapping[str, Path], commit: Commit) -> None:
    """Attach files to the image and to the image of each platform, as referrers.

    Args:
        host: the registry that holds the image.
        digests: the manifests that get the files.
        files: the files, by their artifact type, which is one of `ATTACHMENTS`.
        commit: supplies the time of the referrers.
    """
    for digest in digests.values():
        for artifact_type, path in files.items():
            values = {"org.opencontainers.image.created": commit.time, **ATTACHMENTS[artifact_type]}
            annotations = [f"--annotation={name}={value}" for name, value in values.items()]
            subject, content = f"{host}/{NAME}@{digest}", f"{path.name}:{artifact_type}"
            options = ("--plain-http", f"--artifact-type={artifact_type}", *annotations)
            run("oras", "attach", *options, subject, content, folder=path.parent)


def archive(host: str, commit: Commit, scratch: Path, target: Path) -> None:
    """Write the image with all platforms and referrers to a tar archive: an OCI layout that `docker load` reads too."""
    layout = scratch / "layout"
    tag = commit.version
    options = ("--recursive", "--no-tty", "--from-plain-http", "--to-oci-layout")
    run("oras", "copy", *options, f"{host}/{NAME}:{tag}", f"{layout}:{tag}")
    complete_layout(layout, tag)
    pack_folder(layout, target, seconds=commit.seconds)


def complete_layout(layout: Path, tag: str) -> None:
    """Put the index of a layout in order, and add the file by which `docker load` finds the first image."""
    path = layout / "index.json"
    index = json.loads(path.read_text())
    # oras lists the manifests in the order in which their copies ended. It describes the image of a platform as the
    # index does, or as the subject of a referrer, whichever it read first; only the second lacks the platform.
    entries = [
        entry if _is_named(entry, tag) or "artifactType" in entry else _bare(entry) for entry in index["manifests"]
    ]
    index["manifests"] = sorted(entries, key=lambda entry: (entry.get("annotations") is None, entry["digest"]))
    path.write_text(json.dumps(index))
    [root] = [entry for entry in entries if _is_named(entry, tag)]
    document = _blob(layout, root["digest"])
    if "manifests" in document:
        document = _blob(layout, next(iter(_images_of(document["manifests"]).values())))
    loaded = {
        "Config": _blob_name(document["config"]["digest"]),
        "RepoTags": [f"{NAME}:{tag}"],
        "Layers": [_blob_name(layer["digest"]) for layer in document["layers"]],
    }
    (layout / "manifest.json").write_text(json.dumps([loaded]))


def _is_named(entry: Mapping[str, Any], tag: str) -> bool:
    return tag in (entry.get("annotations") or {}).values()


def _bare(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("mediaType", "digest", "size")}


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _blob(layout: Path, digest: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((layout / _blob_name(digest)).read_text())
    return document


def publish(source: str, target: str) -> None:
    """Copy an image with its platforms and referrers to another registry."""
    options = ("--recursive", "--no-tty", "--from-plain-http", *transport(target, "to-"))
    run("oras", "copy", *options, source, target)


def publish_chart(package: Path, target: str) -> None:
    """Push a chart to `charts/` in another registry."""
    run("helm", "push", package, f"oci://{target}/charts", *transport(target))

"""The layout of the image archive has an order, and the file that `docker load` reads."""

import json
from hashlib import sha256

import pytest

from scripts.release.errors import ReleaseError
from scripts.release.images import Base, complete_layout, this_processor, transport, without_containers


def add(layout, document) -> str:
    content = json.dumps(document).encode()
    digest = sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    return f"sha256:{digest}"


def image(layout, name):
    return add(layout, {"config": {"digest": f"sha256:{name}-config"}, "layers": [{"digest": f"sha256:{name}-layer"}]})


def complete(layout, root):
    """Complete a layout that lists three referrers, a described image and the root, and return `manifest.json`."""
    values = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1}
    referrers = [{"digest": f"sha256:{name}", "artifactType": "text/plain", **values} for name in "cba"]
    platform = {"digest": "sha256:d", **values}
    described = {**platform, "platform": {"os": "linux", "architecture": "amd64"}}
    root = {"digest": root, "annotations": {"org.opencontainers.image.ref.name": "1.2.3"}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [*referrers, described, root]}))
    complete_layout(layout, "1.2.3")
    index = json.loads((layout / "index.json").read_text())
    assert index == {"schemaVersion": 2, "manifests": [root, *reversed(referrers), platform]}
    return json.loads((layout / "manifest.json").read_text())


def expected(name):
    layers = [f"blobs/sha256/{name}-layer"]
    return [{"Config": f"blobs/sha256/{name}-config", "RepoTags": ["sohu-registry:1.2.3"], "Layers": layers}]


def test_docker_loads_the_first_image(tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    entries = [
        {"digest": image(tmp_path, name), "platform": {"os": "linux", "architecture": name}}
        for name in ("amd64", "arm64")
    ]
    attestation = {"digest": "sha256:none", "platform": {"os": "unknown", "architecture": "unknown"}}
    root = add(tmp_path, {"manifests": [attestation, *entries]})
    assert complete(tmp_path, root) == expected("amd64")


def test_docker_loads_the_only_image(tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    assert complete(tmp_path, image(tmp_path, "single")) == expected("single")


def test_only_registries_of_this_machine_may_lack_tls():
    assert transport("127.0.0.1:5000/a", "to-") == ["--to-plain-http"]
    assert transport("localhost:5000") == ["--plain-http"]
    assert transport("registry.example.com:5000/a") == transport("localhost.example.com") == []


def test_config_of_a_reproducible_image_names_no_container():
    settings = {"Cmd": ["serve"]}
    config = {"architecture": "amd64", "config": settings, "history": [{"created_by": "COPY"}]}
    built = {
        **config,
        "container": "1f",
        "container_config": {"Hostname": "1f"},
        "config": {**settings, "Hostname": "1f"},
        "history": [{"created_by": "COPY", "comment": "FROM base"}],
    }
    assert without_containers(built) == config


def test_base_image_has_to_run_on_this_machine():
    base = Base("registry.example.com/python", "sha256:1", {this_processor(): "sha256:2"})
    assert base.for_this_machine == "registry.example.com/python@sha256:2"
    with pytest.raises(ReleaseError, match=f"no image for this machine .linux/{this_processor()}"):
        _ = Base("registry.example.com/python", "sha256:1", {"other": "sha256:2"}).for_this_machine

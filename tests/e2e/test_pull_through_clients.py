"""The clients of `docs/pull-through-cache.md` pull with the documented files through a cache of three registries."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.cached_upstreams import (
    DOCKER_IMAGE,
    IMAGE,
    INDEX,
    LIST,
    REFERRERS,
    REPOSITORIES,
    SBOM,
    SIGNATURE,
    TAGS,
    CachedUpstreams,
    cached_upstreams,
    programs,
)
from tests.support.clients import CommandLineClient, Crane, Oras, Podman, Regctl, Skopeo
from tests.support.daemons import ContainerdDaemon, Ctr, Docker, DockerDaemon
from tests.support.documents import documented_block
from tests.support.oci import contents_of
from tests.support.registry_client import RegistryClient
from tests.support.tools import ToolMissingError

pytestmark = pytest.mark.e2e

PAGE = "pull-through-cache.md"
DOCUMENTED_URL = "https://cache.example.com"
DOCUMENTED_HOST = "cache.example.com"

NewClient = Callable[[type[CommandLineClient]], CommandLineClient]


@pytest.fixture(scope="module")
def topology(
    unavailable: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CachedUpstreams]:
    try:
        programs()
    except ToolMissingError as missing:
        unavailable(str(missing))
    with cached_upstreams(tmp_path_factory.mktemp("cached")) as running:
        yield running


@pytest.fixture
def new_client(tool: Callable[[str], str], topology: CachedUpstreams, tmp_path: Path) -> NewClient:
    homes = iter(range(1_000))

    def make(kind: type[CommandLineClient]) -> CommandLineClient:
        tool(kind.program)
        return kind(tmp_path / f"home-{next(homes)}", topology.cache.host)

    return make


@pytest.fixture(scope="module")
def docker_configuration(topology: CachedUpstreams) -> Mapping[str, Any]:
    document = json.loads(documented_block(PAGE, "dockerd", "json").replace(DOCUMENTED_URL, topology.cache.url))
    # The tests have no certificate.
    return {**document, "insecure-registries": ["127.0.0.0/8"]}


@pytest.fixture(scope="module")
def docker(daemons_folder: Path, dockerd: DockerDaemon, topology: CachedUpstreams) -> Docker:
    return Docker(daemons_folder / "home", topology.cache.host, dockerd)


@pytest.fixture
def ctr(containerd: ContainerdDaemon, topology: CachedUpstreams, tmp_path: Path) -> Ctr:
    client = Ctr(tmp_path / "ctr", topology.cache.host, containerd)
    hosts = documented_block(PAGE, "containerd", "toml").replace(DOCUMENTED_URL, topology.cache.url)
    client.configure_host("_default", hosts)
    return client


def config_of(tag: str) -> str:
    """Return the digest of the config that a client on amd64 gets for a tag."""
    return {
        "image": IMAGE.blobs[0].digest,
        "docker": DOCKER_IMAGE.blobs[0].digest,
        "index": INDEX.images[0].blobs[0].digest,
        "list": LIST.images[0].blobs[0].digest,
    }[tag]


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_everything_of_each_upstream_is_pulled_byte_by_byte(topology: CachedUpstreams, repository: str) -> None:
    client = RegistryClient(topology.cache.host)
    for tag, root in TAGS.items():
        expected = {content.digest: content.data for content in contents_of(root)}
        assert client.pull(repository, tag) == expected
    assert {entry["digest"] for entry in client.referrers(repository, IMAGE.digest)} == {
        referrer.digest for referrer in REFERRERS
    }
    assert set(TAGS) <= set(client.tags(repository))


@pytest.mark.parametrize("kind", [Skopeo, Podman, Crane, Oras, Regctl], ids=lambda kind: kind.program)
def test_client_pulls_from_three_upstreams_at_once(kind: type[CommandLineClient], new_client: NewClient) -> None:
    tags = ("docker", "image", "image")
    clients = [new_client(kind) for _ in REPOSITORIES]
    with ThreadPoolExecutor(len(clients)) as pool:
        pulls = [
            pool.submit(client.pull, f"{repository}:{tag}")
            for client, repository, tag in zip(clients, REPOSITORIES, tags, strict=True)
        ]
        assert [pull.result() for pull in pulls] == [config_of(tag) for tag in tags]


def test_skopeo_copies_whole_indexes(new_client: NewClient) -> None:
    skopeo = new_client(Skopeo)
    for repository, tag in ((REPOSITORIES[0], "list"), (REPOSITORIES[1], "index")):
        target = skopeo.home / tag
        source = f"docker://{skopeo.reference(f'{repository}:{tag}')}"
        skopeo.run("--insecure-policy", "copy", "--all", "--src-tls-verify=false", source, f"dir:{target}")
        assert (target / "manifest.json").read_bytes() == TAGS[tag].manifest.data


def test_podman_pulls_by_original_names(new_client: NewClient, topology: CachedUpstreams) -> None:
    podman = new_client(Podman)
    mirrors = documented_block(PAGE, "podman, skopeo, buildah, CRI-O", "toml")
    # The tests have no certificate.
    mirrors = mirrors.replace("[[registry.mirror]]", "[[registry.mirror]]\ninsecure = true")
    mirrors = mirrors.replace(DOCUMENTED_HOST, topology.cache.host)
    configuration = podman.home / ".config" / "containers" / "registries.conf.d"
    configuration.mkdir()
    (configuration / "cache.conf").write_text(mirrors)

    for name, tag in (("docker.io/library/app", "list"), ("quay.io/team/app", "index")):
        pulled = podman.run("pull", "--quiet", f"{name}:{tag}").split()[-1]
        assert f"sha256:{pulled.removeprefix('sha256:')}" == config_of(tag)


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_oras_discovers_signature_and_sbom(new_client: NewClient, repository: str) -> None:
    oras = new_client(Oras)
    subject = oras.reference(f"{repository}:image")

    found = json.loads(oras.run("discover", "--plain-http", "--format", "json", subject))

    entries = found.get("referrers") or found.get("manifests")
    assert {entry["artifactType"] for entry in entries} == {SIGNATURE, SBOM}
    oras.run("cp", "--recursive", "--from-plain-http", subject, "--to-oci-layout", f"{oras.home}/copy:image")
    copied = {file.name for file in (oras.home / "copy" / "blobs" / "sha256").iterdir()}
    for referrer in REFERRERS:
        assert {content.digest.removeprefix("sha256:") for content in contents_of(referrer)} <= copied


def test_regctl_lists_referrers(new_client: NewClient) -> None:
    regctl = new_client(Regctl)
    for repository in REPOSITORIES:
        listed = json.loads(
            regctl.run("artifact", "list", "--format", "{{json .}}", regctl.reference(f"{repository}:image"))
        )
        assert {entry["artifactType"] for entry in listed["descriptors"]} == {SIGNATURE, SBOM}


def test_docker_pulls_from_its_mirror(docker: Docker, topology: CachedUpstreams) -> None:
    """A daemon sends names of Docker Hub to its mirror without a prefix, and others with the name of the cache."""
    assert docker.pull_image("app:list") == config_of("list")
    assert docker.pull_image(f"app@{DOCKER_IMAGE.digest}") == config_of("docker")
    assert docker.pull("quay.io/team/app:index") == config_of("index")
    assert docker.pull("ghcr.io/team/deep/app:image") == config_of("image")


def test_containerd_pulls_from_all_upstreams_by_one_file(ctr: Ctr) -> None:
    for repository in REPOSITORIES:
        assert ctr.pull_image(f"{repository}:index", "--all-platforms") == INDEX.digest
        assert ctr.pull_image(f"{repository}:docker") == DOCKER_IMAGE.digest
    assert {content.digest for root in (INDEX, DOCKER_IMAGE) for content in contents_of(root)} <= ctr.content()

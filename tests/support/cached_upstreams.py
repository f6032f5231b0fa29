"""Three registries that serve the same images, each of another make and with another kind of sign-in, and their cache.

The registries share one folder, which is filled before they start: Debian's docker-registry asks for a password,
ours for a token, and distribution 3 for nothing. Only ours has the referrers API; the folder also has the fallback tags
that clients of the other registries write.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.caches import WORKERS, CacheServer, children_of, until
from tests.support.htpasswd import write_htpasswd
from tests.support.oci import (
    OCI_INDEX,
    Content,
    Image,
    Index,
    make_artifact,
    make_image,
    make_multi_platform_index,
)
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.token_server import TokenServer
from tests.support.tools import find_distribution, find_tool

SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SBOM = "application/spdx+json"

IMAGE = make_image(1980, layer_sizes=(10_000, 200_000))
DOCKER_IMAGE = make_image(1981, docker=True)
INDEX = make_multi_platform_index(1982)
LIST = make_multi_platform_index(1983, docker=True)
REFERRERS = (
    make_artifact(b"signature", artifact_type=SIGNATURE, subject=IMAGE.manifest),
    make_artifact(b"packages", artifact_type=SBOM, subject=IMAGE.manifest),
)
TAGS: dict[str, Image | Index] = {"image": IMAGE, "docker": DOCKER_IMAGE, "index": INDEX, "list": LIST}

REPOSITORIES = ("docker.io/library/app", "quay.io/team/app", "ghcr.io/team/deep/app")
"""The repository of each upstream, by its name in the cache."""
_USER, _PASSWORD = "robot", "the password at the upstream"


@dataclass(frozen=True)
class CachedUpstreams:
    """The running cache and its upstreams, in the order of `REPOSITORIES`."""

    cache: CacheServer
    upstreams: tuple[RegistryServer, ...]

    @property
    def docker_mirror(self) -> str:
        """URL of the cache for dockerd, which sends names of Docker Hub without a prefix."""
        return self.cache.url


@contextmanager
def cached_upstreams(folder: Path) -> Iterator[CachedUpstreams]:
    """Run the registries and the cache."""
    storage = folder / "upstream"
    _fill(folder / "filling", storage)
    users = write_htpasswd(folder / "htpasswd", robot=_PASSWORD)
    basic = {"auth": {"htpasswd": {"realm": "basic", "path": str(users)}}}
    rights = {_USER: (_PASSWORD, {"*": ("pull",)})}
    quiet = {"OTEL_TRACES_EXPORTER": "none"}
    with (
        TokenServer(folder, rights) as tokens,
        RegistryServer.reference(folder / "debian", storage, config=basic) as debian,
        RegistryServer(folder / "ours", storage, config={"auth": {"token": dict(tokens.settings)}}) as ours,
        RegistryServer(
            folder / "distribution", storage, command=(find_distribution(), "serve"), environment=quiet
        ) as distribution,
    ):
        sign_in = {"username": _USER, "password": _PASSWORD}
        sections = [
            {"prefix": "docker.io", "urls": [debian.url], **sign_in},
            {"prefix": "quay.io", "urls": [ours.url], **sign_in},
            {"prefix": "ghcr.io", "urls": [distribution.url]},
        ]
        # dockerd asks its mirror for names without a prefix.
        proxy = {"remoteurl": debian.url, **sign_in, "upstreams": sections}
        with CacheServer(folder / "cache", folder / "storage", proxy=proxy) as cache:
            until(lambda: len(children_of(cache.pid)) == WORKERS)
            yield CachedUpstreams(cache, (debian, ours, distribution))


def programs() -> tuple[str, ...]:
    """Return the programs that the upstreams need.

    Raises:
        ToolMissingError: one is not installed.
    """
    return find_tool("docker-registry"), find_distribution()


def _fill(folder: Path, storage: Path) -> None:
    with RegistryServer(folder, storage, config={"http": {"workers": 1}}) as server:
        client = RegistryClient(server.host)
        for repository in REPOSITORIES:
            name = repository.partition("/")[2]
            for tag, root in TAGS.items():
                client.push(name, tag, root)
            for referrer in REFERRERS:
                client.push(name, referrer.digest, referrer)
            client.push(name, IMAGE.digest.replace(":", "-"), _fallback_index())


def _fallback_index() -> Image:
    """Return the index of referrers that clients write where the registry has no referrers API."""
    entries = [
        referrer.manifest.descriptor(artifactType=kind)
        for referrer, kind in zip(REFERRERS, (SIGNATURE, SBOM), strict=True)
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Image(Content(OCI_INDEX, json.dumps(document).encode()), (), {})

"""The commands with which clients pull an image, ready to be copied."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from entrypoints.http.urls import UrlBuilder


@dataclass(frozen=True, slots=True)
class PullCommand:
    """The command of one client."""

    client: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PullCommands:
    """The commands for one image."""

    repository: str
    """The name of the repository with the host."""
    name: str
    """The name of the image as clients write it: with the host, and with the tag if there is one."""
    by_tag: tuple[PullCommand, ...]
    """Empty for an image without a tag."""
    by_digest: tuple[PullCommand, ...]


def pull_commands(
    request: web.Request, urls: UrlBuilder, name: RepositoryName, digest: Digest, tag: Tag | None = None
) -> PullCommands:
    """Return the commands, for the host that the visitor uses.

    On plain HTTP, the commands have the option that each client needs; docker and Kubernetes have none, because the
    machine decides.
    """
    root = urlsplit(urls.root(request))
    is_tls = root.scheme == "https"
    image = f"{image_host(root.netloc or 'localhost', is_tls=is_tls)}/{name}"
    by_digest = f"{image}@{digest}"
    by_tag = f"{image}:{tag}" if tag is not None else ""
    folder = name.rpartition("/")[2]
    return PullCommands(
        repository=image,
        name=by_tag or by_digest,
        by_tag=_commands(by_tag, f"{folder}-{tag}", is_tls=is_tls) if by_tag else (),
        by_digest=_commands(by_digest, f"{folder}-{digest.encoded[:12]}", is_tls=is_tls),
    )


def image_host(host: str, *, is_tls: bool) -> str:
    """Return a host as it stands in the name of an image.

    Clients take a first component without a dot or a port for a part of a name at Docker Hub.
    """
    if "." in host or ":" in host or host == "localhost":
        return host
    return f"{host}:{443 if is_tls else 80}"


def _commands(image: str, file: str, *, is_tls: bool) -> tuple[PullCommand, ...]:
    def option(text: str) -> str:
        return "" if is_tls else f" {text}"

    return (
        PullCommand("docker", f"docker pull {image}"),
        PullCommand("podman", f"podman pull{option('--tls-verify=false')} {image}"),
        PullCommand("nerdctl", f"nerdctl{option('--insecure-registry')} pull {image}"),
        PullCommand("crane", f"crane pull{option('--insecure')} {image} {file}.tar"),
        PullCommand("skopeo", f"skopeo copy{option('--src-tls-verify=false')} docker://{image} oci:{file}"),
        PullCommand("Kubernetes", f"image: {image}"),
    )

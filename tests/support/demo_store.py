"""Content that shows the features of the web page: platforms, signatures, many tags, and hostile texts."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from tests.support.htpasswd import basic
from tests.support.oci import (
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Content,
    Image,
    Index,
    make_artifact,
)
from tests.support.registry_client import Answer, Body, RegistryClient

NGINX = "public/nginx"
WEB = "team/web"
HOSTILE = "team/hostile"
LONG = "team/" + "/".join(["a-component-with-a-long-name-0123456789"] * 6)
CHART = "team/charts/web"
SCRIPT = '"><script>alert(1)</script>'
TAGS = 120
"""Number of tags of `WEB`, besides those that were deleted."""
DELETED = ("0.1.0-broken", "0.2.0-test")
"""Tags of `WEB` in the trash."""

_DATE = "2026-11-28T09:30:00Z"
_LABELS = {
    "org.opencontainers.image.title": "nginx",
    "org.opencontainers.image.description": "Official build of nginx with our certificates.",
    "org.opencontainers.image.source": "https://git.example.com/platform/nginx",
    "org.opencontainers.image.licenses": "BSD-2-Clause",
    "org.opencontainers.image.version": "1.29.3",
    "team": "platform",
}
_HOSTILE_LABELS = {
    SCRIPT: SCRIPT,
    "org.opencontainers.image.title": "<img src=x onerror=alert(1)>",
    "org.opencontainers.image.url": "javascript:alert(1)",
    "org.opencontainers.image.source": "data:text/html,<script>alert(1)</script>",
    "org.opencontainers.image.documentation": 'https://example.com/" onmouseover="alert(1)',
    "long": "no-space-" * 300,
    "{{ 7 * 7 }}": "{% raw %}",
}
_STEPS = (
    ("ADD rootfs.tar.xz / # buildkit", 4_200_000),
    ("ENV NGINX_VERSION=1.29.3 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", 0),
    (
        "RUN /bin/sh -c apt-get update && apt-get install --yes ca-certificates nginx && rm -rf /var/lib/apt/lists/*",
        1_900_000,
    ),
    ("COPY docker-entrypoint.sh /usr/local/bin/ # buildkit", 1_200),
    ("EXPOSE map[80/tcp:{} 443/tcp:{}]", 0),
    ('ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]', 0),
    ('CMD ["nginx" "-g" "daemon off;"]', 0),
)


class DemoStore:
    """Fills a registry.

    Args:
        host: address of the registry.
        user: a user who may do everything, and the password.
        layer_percent: size of the layers, in percent of their realistic size.
        is_hostile: whether some content tries to break the page, by scripts and by long texts.
    """

    def __init__(
        self, host: str, *, user: tuple[str, str] | None = None, layer_percent: int = 1, is_hostile: bool = True
    ) -> None:
        self._client = UserClient(host, *user) if user else RegistryClient(host)
        self._layer_percent = layer_percent
        self._is_hostile = is_hostile

    def fill(self) -> Index:
        """Push all content, and delete some of it; return the index that `NGINX` has under `latest`."""
        index = self._push_nginx()
        self._push_team()
        if self._is_hostile:
            self._push_hostile()
        for tag in DELETED:
            self._client.push(WEB, tag, self._image(len(tag), labels={"branch": tag}))
            self._client.delete_manifest(WEB, tag)
        return index

    def _push_nginx(self) -> Index:
        old = self._image(1, labels={**_LABELS, "org.opencontainers.image.version": "1.28.0"})
        self._client.push(NGINX, "1.28.0", old)
        images = [
            self._image(2, labels=_LABELS),
            self._image(3, labels=_LABELS, architecture="arm64", variant="v8"),
            self._image(4, labels=_LABELS, architecture="arm", variant="v7"),
        ]
        index = _index_with_attestations(images)
        self._push_tags(NGINX, index, ["1.29.3", "1.29", "stable", "latest"])
        self._refer(NGINX, index.manifest)
        return index

    def _push_tags(self, name: str, root: Image | Index, tags: Sequence[str]) -> None:
        """Push an image under several tags; its content only once."""
        self._client.push(name, tags[0], root)
        for tag in tags[1:]:
            self._client.push_manifest(name, tag, root.manifest)

    def _refer(self, name: str, subject: Content) -> None:
        """Attach a signature and an SBOM, and sign the SBOM."""
        sbom = make_artifact(b'{"spdxVersion": "SPDX-2.3"}', artifact_type="application/spdx+json", subject=subject)
        signature = "application/vnd.dev.cosign.artifact.sig.v1+json"
        for artifact in (
            make_artifact(b"signature", artifact_type=signature, subject=subject),
            sbom,
            make_artifact(b"signature of the SBOM", artifact_type=signature, subject=sbom.manifest),
            make_artifact(b"{}", artifact_type="application/vnd.in-toto+json", subject=subject),
        ):
            self._client.push(name, artifact.digest, artifact)

    def _push_team(self) -> None:
        images = [self._image(10 + number, labels={"branch": f"release-{number}"}) for number in range(6)]
        each = TAGS // len(images)
        for place, image in enumerate(images):
            numbers = range(place * each, (place + 1) * each)
            self._push_tags(WEB, image, [f"1.{number // 10}.{number % 10}" for number in numbers])
        for seed, name in enumerate(("team/api", "team/worker", "private/payments", "public/base/debian")):
            self._client.push(name, "1.0.0", self._image(30 + seed, labels={"team": name.partition("/")[0]}))
        chart = make_artifact(b"chart", artifact_type="application/vnd.cncf.helm.config.v1+json")
        self._client.push(CHART, "0.4.2", chart)

    def _push_hostile(self) -> None:
        self._client.push(LONG, "a-tag-with-a-long-name-" + "x" * 100, self._image(40, labels={}))
        image = self._image(50, labels=_HOSTILE_LABELS, steps=((SCRIPT, 1_000), ("RUN " + "x" * 5_000, 1_000)))
        self._push_tags(HOSTILE, image, ["latest", "v1"])
        self._refer(HOSTILE, image.manifest)
        hostile = make_artifact(b"x", artifact_type="text/html;" + "x" * 100, subject=image.manifest)
        self._client.push(HOSTILE, hostile.digest, hostile)

    def _image(
        self,
        seed: int,
        *,
        labels: Mapping[str, str],
        architecture: str = "amd64",
        variant: str = "",
        steps: Sequence[tuple[str, int]] = _STEPS,
    ) -> Image:
        platform = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
        layers = []
        for number, (_, size) in enumerate(steps):
            if size:
                # All images share their first layer.
                generator = random.Random(0 if number == 0 else seed * 100 + number)
                layers.append(Content(OCI_LAYER, generator.randbytes(max(size * self._layer_percent // 100, 100))))
        history = [
            {"created": _DATE, "created_by": step, **({} if size else {"empty_layer": True})} for step, size in steps
        ]
        document = {
            **platform,
            "created": _DATE,
            "author": "platform@example.com",
            "config": {
                "User": "101",
                "Env": [
                    "PATH=/usr/local/sbin:/usr/sbin:/usr/bin",
                    "NGINX_VERSION=1.29.3",
                    "EMPTY=",
                    f"HOSTILE={SCRIPT}",
                ],
                "Entrypoint": ["/usr/local/bin/docker-entrypoint.sh"],
                "Cmd": ["nginx", "-g", "daemon off;"],
                "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
                "WorkingDir": "/",
                "Labels": dict(labels),
                "StopSignal": "SIGQUIT",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": history,
        }
        config = Content(OCI_CONFIG, _json(document))
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
            "annotations": {"org.opencontainers.image.created": _DATE, "com.example.build": str(seed)},
        }
        return Image(Content(OCI_MANIFEST, _json(manifest)), (config, *layers), platform)


class UserClient(RegistryClient):
    """A client that sends a password with each request."""

    def __init__(self, host: str, user: str, password: str) -> None:
        super().__init__(host)
        self._authorization = basic(user, password)

    @override
    def request(
        self, method: str, target: str, *, body: Body = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return super().request(
            method, target, body=body, headers={**(headers or {}), "Authorization": self._authorization}
        )


def _index_with_attestations(images: Sequence[Image]) -> Index:
    """Build an index as BuildKit does: an attestation follows the images, one for each."""
    empty = Content(OCI_EMPTY, b"{}")
    attestations = []
    for image in images:
        statement = Content("application/vnd.in-toto+json", _json({"subject": image.digest}))
        layer = statement.descriptor(annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"})
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty.descriptor(), "layers": [layer]}
        attestations.append(Image(Content(OCI_MANIFEST, _json(document)), (empty, statement), {}))
    entries = [image.manifest.descriptor(platform=dict(image.platform)) for image in images]
    for image, attestation in zip(images, attestations, strict=True):
        annotations = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image.digest,
        }
        unknown = {"os": "unknown", "architecture": "unknown"}
        entries.append(attestation.manifest.descriptor(platform=unknown, annotations=annotations))
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Index(Content(OCI_INDEX, _json(document)), (*images, *attestations))


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()

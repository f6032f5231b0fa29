"""The kinds of artifacts that have a common name, recognized by their media types: the only such table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class ArtifactKind(StrEnum):
    """A kind of artifact. The values are keys for the texts of entry points."""

    COSIGN_SIGNATURE = "cosign-signature"
    SIGSTORE_BUNDLE = "sigstore-bundle"
    NOTATION_SIGNATURE = "notation-signature"
    SPDX = "spdx"
    CYCLONEDX = "cyclonedx"
    SBOM = "sbom"
    """A list of components in another format."""
    PROVENANCE = "provenance"
    ATTESTATION = "attestation"
    VULNERABILITIES = "vulnerabilities"
    VEX = "vex"
    HELM_CHART = "helm-chart"
    WASM = "wasm"
    POLICY = "policy"
    FLUX = "flux"
    BUILD_CACHE = "build-cache"
    MODEL = "model"
    SIF = "sif"
    IMAGE = "image"


SIGNATURES: Final = frozenset(
    {ArtifactKind.COSIGN_SIGNATURE, ArtifactKind.SIGSTORE_BUNDLE, ArtifactKind.NOTATION_SIGNATURE}
)
"""Kinds that sign their subject. A bundle signs an attestation too."""
SBOMS: Final = frozenset({ArtifactKind.SPDX, ArtifactKind.CYCLONEDX, ArtifactKind.SBOM})
COSIGN_TAGS: Final[Mapping[str, ArtifactKind]] = {
    "sig": ArtifactKind.COSIGN_SIGNATURE,
    "att": ArtifactKind.ATTESTATION,
    "sbom": ArtifactKind.SBOM,
}
"""The endings of cosign's tags, `sha256-<hex>.sig`."""
_BUNDLE_PREDICATES: Final = ("dev.sigstore.bundle.predicateType", "predicateType")
PREDICATE_ANNOTATION: Final = "in-toto.io/predicate-type"
"""BuildKit's annotation of a layer with the kind of its statement."""

_BY_PREFIX: Final[tuple[tuple[str, ArtifactKind], ...]] = (
    ("application/vnd.dev.cosign.artifact.sig.", ArtifactKind.COSIGN_SIGNATURE),
    ("application/vnd.dev.cosign.simplesigning.", ArtifactKind.COSIGN_SIGNATURE),
    ("application/vnd.dev.cosign.artifact.sbom.", ArtifactKind.SBOM),
    ("application/vnd.dev.cosign.artifact.att.", ArtifactKind.ATTESTATION),
    ("application/vnd.dev.cosign.artifact.bundle.", ArtifactKind.SIGSTORE_BUNDLE),
    ("application/vnd.dev.sigstore.bundle", ArtifactKind.SIGSTORE_BUNDLE),
    ("application/vnd.cncf.notary.signature", ArtifactKind.NOTATION_SIGNATURE),
    ("application/spdx", ArtifactKind.SPDX),
    ("text/spdx", ArtifactKind.SPDX),
    ("application/vnd.cyclonedx", ArtifactKind.CYCLONEDX),
    ("application/vnd.syft", ArtifactKind.SBOM),
    ("application/vnd.in-toto", ArtifactKind.ATTESTATION),
    ("application/vnd.dsse.", ArtifactKind.ATTESTATION),
    ("application/sarif", ArtifactKind.VULNERABILITIES),
    ("application/vnd.aquasec.trivy.", ArtifactKind.VULNERABILITIES),
    ("application/vnd.security.vulnerability.", ArtifactKind.VULNERABILITIES),
    ("application/vex", ArtifactKind.VEX),
    ("application/vnd.openvex", ArtifactKind.VEX),
    ("application/vnd.cncf.helm.", ArtifactKind.HELM_CHART),
    ("application/vnd.wasm.", ArtifactKind.WASM),
    ("application/vnd.module.wasm.", ArtifactKind.WASM),
    ("application/wasm", ArtifactKind.WASM),
    ("application/vnd.cncf.openpolicyagent.", ArtifactKind.POLICY),
    ("application/vnd.cncf.kyverno.", ArtifactKind.POLICY),
    ("application/vnd.cncf.flux.", ArtifactKind.FLUX),
    ("application/vnd.buildkit.cacheconfig.", ArtifactKind.BUILD_CACHE),
    ("application/vnd.cncf.model.", ArtifactKind.MODEL),
    ("application/vnd.docker.ai.", ArtifactKind.MODEL),
    ("application/vnd.ollama.", ArtifactKind.MODEL),
    ("application/vnd.sylabs.sif.", ArtifactKind.SIF),
    ("application/vnd.oci.image.config.", ArtifactKind.IMAGE),
    ("application/vnd.docker.container.image.", ArtifactKind.IMAGE),
    ("https://slsa.dev/provenance/", ArtifactKind.PROVENANCE),
    ("https://spdx.dev/document", ArtifactKind.SPDX),
    ("https://cyclonedx.org/", ArtifactKind.CYCLONEDX),
    ("https://cosign.sigstore.dev/attestation/vuln/", ArtifactKind.VULNERABILITIES),
    ("https://in-toto.io/attestation/vulns", ArtifactKind.VULNERABILITIES),
    ("https://openvex.dev/ns", ArtifactKind.VEX),
    ("https://sigstore.dev/cosign/sign/", ArtifactKind.COSIGN_SIGNATURE),
)
"""The beginnings of media types, artifact types and predicate types."""


def kind_of(artifact_type: str, annotations: Mapping[str, str] | None = None) -> ArtifactKind | None:
    """Return the kind of an artifact, or None if its type has no name here.

    Args:
        artifact_type: the artifact type, the media type of a config or layer, or the type of an in-toto predicate.
        annotations: those of the manifest; a bundle of Sigstore names its content there.
    """
    for key in _BUNDLE_PREDICATES:
        if (kind := _by_type((annotations or {}).get(key, ""))) is not None:
            return kind
    return _by_type(artifact_type)


def _by_type(text: str) -> ArtifactKind | None:
    folded = text[:256].lower()
    return next((kind for prefix, kind in _BY_PREFIX if folded.startswith(prefix)), None)

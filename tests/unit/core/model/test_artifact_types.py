"""The kinds of artifacts."""

import pytest

from core.model.artifact_types import SBOMS, SIGNATURES, ArtifactKind, kind_of


@pytest.mark.parametrize(
    ("artifact_type", "kind"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", ArtifactKind.COSIGN_SIGNATURE),
        ("application/vnd.dev.cosign.simplesigning.v1+json", ArtifactKind.COSIGN_SIGNATURE),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", ArtifactKind.SIGSTORE_BUNDLE),
        ("application/vnd.cncf.notary.signature", ArtifactKind.NOTATION_SIGNATURE),
        ("application/spdx+json", ArtifactKind.SPDX),
        ("application/vnd.cyclonedx+json", ArtifactKind.CYCLONEDX),
        ("application/vnd.in-toto+json", ArtifactKind.ATTESTATION),
        ("https://slsa.dev/provenance/v1", ArtifactKind.PROVENANCE),
        ("https://spdx.dev/Document", ArtifactKind.SPDX),
        ("application/vnd.cncf.helm.config.v1+json", ArtifactKind.HELM_CHART),
        ("application/vnd.docker.container.image.v1+json", ArtifactKind.IMAGE),
        ("application/vnd.oci.empty.v1+json", None),
        ("example/unknown", None),
        ("", None),
    ],
)
def test_kinds_are_known_by_their_types(artifact_type, kind):
    assert kind_of(artifact_type) is kind


def test_a_bundle_is_what_it_contains():
    bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
    predicate = {"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"}
    assert kind_of(bundle, predicate) is ArtifactKind.PROVENANCE
    assert kind_of(bundle, {"dev.sigstore.bundle.predicateType": "mine"}) is ArtifactKind.SIGSTORE_BUNDLE


def test_signatures_and_lists_of_components_are_different():
    assert not SIGNATURES & SBOMS

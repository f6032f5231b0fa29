"""The layers of an image that other images of its repository have too, and the indexes that contain the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.model.digest import Digest
from core.model.names import Tag
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.service import RepositoryView, SummaryService

MANIFESTS_MAX: Final = 300
"""Maximum number of manifests with which an image is compared: those that were pushed last."""
_BUILT_MAX: Final = 50
_TAGS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Sharing:
    """The other tags whose images have a layer."""

    tags: Sequence[Tag]
    """The newest ones."""
    count: int
    """The number of all of them."""


@dataclass(frozen=True, slots=True)
class SharedLayers:
    """The layers that an image shares, by their digests."""

    by_layer: Mapping[str, Sharing]
    within: Sharing | None
    """The tags of the indexes that contain the image; None if there are none."""
    is_complete: bool
    """Whether the image was compared with all tags of the repository."""


async def find_shared(
    summaries: SummaryService, view: RepositoryView, image: Digest, layers: Sequence[str]
) -> SharedLayers:
    """Compare an image with the tags of its repository that were pushed last.

    Costs no request for manifests whose summaries are known; others are read, at most 50 of them.
    """
    newest = sorted(view.tags.items(), key=lambda item: item[1].pushed_at, reverse=True)
    tags: dict[Digest, list[Tag]] = {}
    for tag, state in newest:
        tags.setdefault(state.digest, []).append(tag)
    compared = list(tags)[:MANIFESTS_MAX]
    known = await summaries.describe(view.name, compared, built_max=_BUILT_MAX)
    indexes = [digest for digest, summary in known.items() if digest != image and image in summary.contents]
    within = [tag for digest in tags if digest in indexes for tag in tags[digest]]
    return SharedLayers(
        by_layer=shared_layers(image, layers, known, tags),
        within=_sharing(within) if within else None,
        is_complete=len(known) == len(tags),
    )


def shared_layers(
    image: Digest,
    layers: Sequence[str],
    summaries: Mapping[Digest, ManifestSummary],
    tags: Mapping[Digest, Sequence[Tag]],
) -> Mapping[str, Sharing]:
    """Return the layers of an image that other images have, with the tags of these.

    An index that contains the image is no other image.

    Args:
        image: the image.
        layers: the digests of its layers.
        summaries: the manifests with which it is compared.
        tags: the tags of each manifest, the newest first, in the order of the manifests' last push.
    """
    wanted = set(layers)
    found: dict[str, list[Tag]] = {}
    for digest, of_manifest in tags.items():
        summary = summaries.get(digest)
        if summary is None or image in summary.contents:
            continue
        for layer in wanted.intersection(summary.contents):
            found.setdefault(layer, []).extend(of_manifest)
    return {layer: _sharing(each) for layer, each in found.items()}


def _sharing(tags: Sequence[Tag]) -> Sharing:
    return Sharing(tags[:_TAGS_SHOWN], len(tags))

"""The stored form of summaries: versioned, bounded, and the same after reading."""

import json
import zlib
from datetime import UTC, datetime

import pytest

from core.model.digest import Digest
from core.summaries.manifest_summary import ManifestSummary, PlatformSummary
from core.summaries.stored import SummariesUnreadableError, decode_summaries, encode_summaries

FULL = ManifestSummary(
    digest=Digest.of(b"full"),
    media_type="a/b",
    artifact_type="c/d",
    contents={Digest.of(b"full"): 4, Digest.of(b"shared"): 6},
    platforms=(PlatformSummary(os="linux", architecture="arm64", variant="v8", digest=Digest.of(b"full"), size=10),),
    created=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    annotations={"a": "\N{SNOWMAN}"},
    labels={"l": ""},
    subject=Digest.of(b"subject"),
    is_complete=False,
)
PLAIN = ManifestSummary(digest=Digest.of(b"plain", "sha512"), media_type="a/b", contents={Digest.of(b"shared"): 7})


def packed(document, *, version=b"1"):
    return version + b"\n" + zlib.compress(json.dumps(document).encode())


def test_summaries_are_read_as_written():
    assert decode_summaries(encode_summaries([FULL, PLAIN])) == {FULL.digest: FULL, PLAIN.digest: PLAIN}


def test_summaries_beyond_the_limit_are_left_out():
    assert decode_summaries(encode_summaries([PLAIN, FULL], size_max=500)) == {PLAIN.digest: PLAIN}


def test_blobs_that_images_share_are_written_once():
    contents = {Digest.of(b"%d" % number): number for number in range(100)}
    summaries = [
        ManifestSummary(digest=Digest.of(b"i%d" % number), media_type="a/b", contents=contents) for number in range(100)
    ]
    text = zlib.decompress(encode_summaries(summaries).partition(b"\n")[2])
    assert text.count(Digest.of(b"7").encode()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        packed({"blobs": [], "manifests": []}, version=b"2"),
        b"1\nnot compressed",
        b"1\n" + zlib.compress(b"x" * 1_000)[:-8],
        b"1\n" + zlib.compress(b"x" * 2_000_000),
        b"1\n" + zlib.compress(b"{"),
        packed([]),
        packed({"blobs": []}),
        packed({"blobs": [["sha256:0", 1]], "manifests": []}),
        packed({"blobs": [1], "manifests": []}),
        packed({"blobs": [], "manifests": [1]}),
        packed({"blobs": [], "manifests": [{"digest": Digest.of(b""), "mediaType": "a/b", "contents": [3]}]}),
        packed({"blobs": [], "manifests": [{"digest": Digest.of(b""), "mediaType": "a/b", "created": 3}]}),
    ],
    ids=range(13),
)
def test_content_that_is_no_set_of_summaries_is_refused(content):
    with pytest.raises(SummariesUnreadableError):
        decode_summaries(content, size_max=1_000_000)

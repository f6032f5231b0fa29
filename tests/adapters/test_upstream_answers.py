"""Responses of an upstream: their size, their encoding, and headers that are missing or wrong."""

import gzip
import hashlib
import json

import pytest

from core.errors import UpstreamAbsentError, UpstreamUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.ports.upstream import UpstreamQuota
from tests.adapters.upstreams import MANIFEST, NAME, TAG, connect, fill
from tests.support.streams import collect
from tests.support.upstream_server import UpstreamServer

MIB = 1024 * 1024


@pytest.fixture
def server():
    with UpstreamServer() as server:
        fill(server)
        yield server


def answer(server, body, *kinds, status=200, **headers):
    """Answer with a body, whatever the question."""
    server.faults.refuse(
        status, *kinds, headers={key.replace("_", "-"): value for key, value in headers.items()}, body=body
    )


async def test_all_types_of_manifests_are_accepted(server):
    async with connect(server.url) as upstream:
        await upstream.resolve(NAME, TAG)
        await upstream.manifest(NAME, TAG)
    for seen in server.requests("manifest"):
        for media_type in media_types.MANIFESTS | media_types.SCHEMA1:
            assert media_type in seen.headers["Accept"]


async def test_tag_costs_one_head(server):
    async with connect(server.url) as upstream:
        await upstream.resolve(NAME, TAG)
    assert server.counts == {"manifest HEAD": 1}


@pytest.mark.parametrize("fault", ["digest", "type", "method"])
async def test_useless_head_costs_a_get(server, fault):
    server.faults.omits_digest = fault == "digest"
    if fault == "type":
        digest = Digest.of(MANIFEST)
        server.content.repositories[NAME].manifests[digest] = ("application/json", MANIFEST)
    if fault == "method":
        server.faults.refuse(405, "manifest HEAD")
    async with connect(server.url) as upstream:
        target = await upstream.resolve(NAME, TAG)
    assert target is not None
    assert (target.digest, target.media_type) == (Digest.of(MANIFEST), media_types.OCI_MANIFEST)
    assert server.counts == {"manifest HEAD": 1, "manifest GET": 1}


async def test_validator_is_sent(server):
    digest = Digest.of(MANIFEST)
    headers = {"ETag": 'W/"7"', "Docker-Content-Digest": digest, "Content-Type": media_types.OCI_MANIFEST}
    server.faults.refuse(200, "manifest HEAD", times=1, headers=headers)
    async with connect(server.url) as upstream:
        target = await upstream.resolve(NAME, TAG)
        assert target is not None
        assert target.etag == 'W/"7"'
        server.faults.refuse(304, "manifest HEAD", times=1)
        assert await upstream.resolve(NAME, TAG, etag=target.etag) is None
        assert server.seen[-1].headers["If-None-Match"] == 'W/"7"'
        # Without a question for changes, 304 is no answer.
        server.faults.refuse(304, "manifest HEAD", times=1)
        with pytest.raises(UpstreamUnavailableError):
            await upstream.resolve(NAME, TAG)


@pytest.mark.parametrize("claim", ["sha256:" + "0" * 64, "md5:0", "", "sha512:" + "0" * 128])
async def test_manifest_is_hashed_whatever_the_upstream_claims(server, claim):
    server.faults.wrong_digest = claim
    async with connect(server.url) as upstream:
        assert (await upstream.manifest(NAME, TAG)).digest == Digest.of(MANIFEST)


async def test_manifest_may_have_a_sha512_digest(server):
    digest = f"sha512:{hashlib.sha512(MANIFEST).hexdigest()}"
    server.content.repositories[NAME].manifests[digest] = (media_types.OCI_MANIFEST, MANIFEST)
    server.content.tag(NAME, digest, "long")
    async with connect(server.url) as upstream:
        assert (await upstream.manifest(NAME, Digest(digest))).digest == digest
        server.faults.wrong_digest = digest
        assert (await upstream.manifest(NAME, TAG)).digest == digest


async def test_manifest_of_another_digest_is_an_outage(server):
    digest = Digest(fill(server))
    server.content.replace_manifest(NAME, digest, MANIFEST + b" ")
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="another manifest"):
            await upstream.manifest(NAME, digest)


@pytest.mark.parametrize("content", [b"<html>sign in to the network</html>", b"", b"[]", b"{}", b"\xff\xfe"])
@pytest.mark.parametrize("content_type", ["text/html", "application/json", ""])
async def test_page_of_another_server_is_no_manifest(server, content, content_type):
    server.content.add_manifest(NAME, content, content_type, "page")
    server.faults.omits_digest = True
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="no manifest"):
            await upstream.resolve(NAME, TAG.__class__("page"))


async def test_media_type_of_the_document_counts_if_the_header_has_none(server):
    server.content.add_manifest(NAME, MANIFEST, "application/octet-stream", "odd")
    async with connect(server.url) as upstream:
        assert (await upstream.manifest(NAME, TAG.__class__("odd"))).media_type == media_types.OCI_MANIFEST


async def test_parameters_of_a_media_type_are_dropped(server):
    server.content.add_manifest(NAME, MANIFEST, f"{media_types.OCI_MANIFEST}; charset=utf-8", "odd")
    async with connect(server.url) as upstream:
        assert (await upstream.manifest(NAME, TAG.__class__("odd"))).media_type == media_types.OCI_MANIFEST


async def test_manifest_is_limited_in_size(server):
    async with connect(server.url) as upstream:
        for chunked in (False, True):
            server.faults.omits_length = chunked
            fits = server.content.add_manifest(
                NAME, MANIFEST + b" " * (16 * MIB - len(MANIFEST)), media_types.OCI_MANIFEST
            )
            assert len((await upstream.manifest(NAME, Digest(fits))).content) == 16 * MIB
            large = server.content.add_manifest(NAME, MANIFEST + b" " * 16 * MIB, media_types.OCI_MANIFEST)
            with pytest.raises(UpstreamUnavailableError, match="more than 16777216 bytes"):
                await upstream.manifest(NAME, Digest(large))


async def test_compressed_documents_are_limited_in_size(server):
    bomb = gzip.compress(b" " * 200 * MIB, compresslevel=1)
    assert len(bomb) < MIB
    answer(server, bomb, "manifest GET", "tags", Content_Encoding="gzip")
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="more than"):
            await upstream.manifest(NAME, TAG)
        with pytest.raises(UpstreamUnavailableError, match="more than"):
            await collect(upstream.tags(NAME))


@pytest.mark.parametrize(
    ("body", "encoding", "problem"),
    [
        (b"not compressed", "gzip", "broken compressed data"),
        (gzip.compress(MANIFEST)[:-9], "gzip", "broken compressed data"),
        (MANIFEST, "br", "compresses in an unknown way"),
    ],
)
async def test_unreadable_encoding_is_an_outage(server, body, encoding, problem):
    answer(server, body, "manifest GET", Content_Encoding=encoding)
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError, match=problem):
            await upstream.manifest(NAME, TAG)


async def test_compressed_blob_is_passed_on_as_it_is_stored(server):
    content = gzip.compress(b"layer")
    answer(server, content, "blob", Content_Encoding="gzip")
    async with connect(server.url) as upstream, upstream.open_blob(NAME, Digest.of(content)) as reader:
        assert b"".join([piece async for piece in reader]) == content
    assert server.seen[0].headers["Accept-Encoding"] == "identity"


async def test_blob_costs_one_get(server):
    async with connect(server.url) as upstream, upstream.open_blob(NAME, Digest.of(b"layer")) as reader:
        assert await collect(reader) == [b"layer"]
    assert server.counts == {"blob GET": 1}
    assert "Range" not in server.seen[0].headers


async def test_blob_without_a_size_is_an_outage(server):
    server.faults.omits_length = True
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="no usable size"):
            async with upstream.open_blob(NAME, Digest.of(b"layer")):
                pass


@pytest.mark.parametrize(
    "content_range", ["", "bytes 0-4/5", "bytes 2-4/*", "bytes 2-4/2", "items 2-4/5", "bytes 2-4/" + "9" * 30]
)
async def test_wrong_range_is_an_outage(server, content_range):
    answer(server, b"yer", "blob", status=206, Content_Range=content_range)
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="no usable size or range"):
            async with upstream.open_blob(NAME, Digest.of(b"layer"), offset=2):
                pass


async def test_unexpected_part_is_an_outage(server):
    answer(server, b"yer", "blob", status=206, Content_Range="bytes 2-4/5")
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError):
            async with upstream.open_blob(NAME, Digest.of(b"layer")):
                pass


async def test_shorter_part_than_promised_is_not_silently_short(server):
    answer(server, b"y", "blob", status=206, Content_Range="bytes 2-4/5")
    async with connect(server.url) as upstream, upstream.open_blob(NAME, Digest.of(b"layer"), offset=2) as reader:
        with pytest.raises(UpstreamUnavailableError, match="ended a blob early"):
            await collect(reader)


async def test_pages_are_followed_on_the_own_server_only(server):
    server.content.tag(NAME, Digest.of(MANIFEST), *[f"v{number}" for number in range(7)])
    body = json.dumps({"tags": ["a", "no tag!", 7, "b"]}).encode()
    link = '<https://evil.test/v2/other/tags/list?last=v4&n=2>; foo="a, b"; rel="next"'
    server.faults.refuse(200, "tags", times=1, headers={"Link": link}, body=body)
    async with connect(server.url) as upstream:
        assert await collect(upstream.tags(NAME)) == ["a", "b", "v5", "v6"]
    assert [(seen.path, dict(seen.query)) for seen in server.requests("tags")] == [
        (f"/v2/{NAME}/tags/list", {"n": "1000"}),
        (f"/v2/{NAME}/tags/list", {"last": "v4", "n": "2"}),
    ]


async def test_repeated_page_ends_the_list(server):
    answer(server, b'{"tags": ["a"]}', "tags", Link="</v2/x/tags/list?last=a>; rel=next")
    async with connect(server.url) as upstream:
        assert await collect(upstream.tags(NAME)) == ["a", "a"]


@pytest.mark.parametrize("body", [b"", b"[]", b"[" * 100_000, b'{"tags": [' + b"[]," * 400_000 + b"[]]}"])
async def test_broken_list_is_an_outage(server, body):
    answer(server, body, "tags", "referrers", "catalog", Content_Type=media_types.OCI_INDEX)
    async with connect(server.url) as upstream:
        for question in (upstream.tags(NAME), upstream.referrers(NAME, Digest.of(MANIFEST)), upstream.repositories()):
            with pytest.raises(UpstreamUnavailableError):
                await collect(question)


async def test_missing_lists_are_empty(server):
    answer(server, b'{"tags": null, "manifests": {}}', "tags", "referrers", Content_Type=media_types.OCI_INDEX)
    async with connect(server.url) as upstream:
        assert await collect(upstream.tags(NAME)) == []
        assert await collect(upstream.referrers(NAME, Digest.of(MANIFEST))) == []


async def test_unusable_referrers_are_left_out(server):
    good = {"mediaType": media_types.OCI_MANIFEST, "digest": Digest.of(b"x"), "size": 1}
    bad = [7, {}, {**good, "digest": "md5:0"}, {**good, "size": -1}, {**good, "size": True}, {**good, "mediaType": 7}]
    entries = [*bad, {**good, "annotations": {"a": "b", "c": 7}, "artifactType": ""}]
    answer(server, json.dumps({"manifests": entries}).encode(), "referrers", Content_Type=media_types.OCI_INDEX)
    async with connect(server.url) as upstream:
        [found] = await collect(upstream.referrers(NAME, Digest.of(MANIFEST)))
    assert (found.digest, found.annotations, found.artifact_type) == (Digest.of(b"x"), {"a": "b"}, None)


@pytest.mark.parametrize("status", [400, 404, 405, 501, 200])
async def test_fallback_tag_is_read_without_the_referrers_api(server, status):
    answer(server, b"<html>", "referrers", status=status, Content_Type="text/html")
    async with connect(server.url) as upstream:
        assert await collect(upstream.referrers(NAME, Digest.of(MANIFEST))) == []
    assert server.counts == {"referrers GET": 1, "manifest GET": 1}
    assert server.seen[-1].path.endswith("/manifests/sha256-" + Digest.of(MANIFEST).encoded)


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_catalog_may_be_missing(server, status):
    server.faults.refuse(status, "catalog")
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamAbsentError):
            await collect(upstream.repositories())


async def test_quota_is_noted(server):
    async with connect(server.url) as upstream:
        await upstream.resolve(NAME, TAG)
        assert upstream.quota is None
        server.faults.quota = 76
        await upstream.manifest(NAME, TAG)
        expected = UpstreamQuota(limit=100, remaining=75, window_seconds=21600)
        assert upstream.quota == expected
        server.faults.quota = None
        await upstream.manifest(NAME, TAG)
        assert upstream.quota == expected


async def test_question_for_a_tag_costs_no_quota(server):
    server.faults.quota = 0
    async with connect(server.url) as upstream:
        assert await upstream.resolve(NAME, TAG)


@pytest.mark.parametrize("value", ["", "many", "-1", "9" * 40])
async def test_unusable_quota_is_ignored(server, value):
    headers = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": value, "Content-Type": media_types.OCI_MANIFEST}
    server.faults.refuse(200, "manifest GET", headers=headers, body=MANIFEST)
    async with connect(server.url) as upstream:
        await upstream.manifest(NAME, TAG)
        assert upstream.quota is None


async def test_root_that_is_no_registry_fails_the_check(server):
    server.faults.refuse(404, "root")
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamAbsentError):
            await upstream.check()


@pytest.mark.parametrize("headers", [{"X-Long": "x" * 40_000}, {f"X-{number}": "x" for number in range(200)}])
async def test_headers_are_limited(server, headers):
    server.faults.refuse(200, "root", headers=headers)
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError):
            await upstream.check()

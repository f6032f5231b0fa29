"""Listings of stores that are poorer than S3, and trees beside keys that begin alike."""

import random
from typing import Any

import pytest

from adapters.blob_storage.s3 import names
from adapters.blob_storage.s3.capabilities import Capabilities
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.multipart import list_uploads
from adapters.blob_storage.s3.options import MIB
from tests.support.scs_server.store import Bucket, Segment, StoredObject
from tests.support.streams import collect, payload, stage

STORED = StoredObject([Segment(b"link", 4)], "0" * 32, "application/octet-stream")


class PlainStore(StoreClient):
    """A listing that takes a delimiter of one character only, few entries a page."""

    def __init__(self, *keys: str) -> None:
        self.bucket = Bucket()
        self.capabilities = Capabilities()
        self.pages = 0
        self.page_length = 3
        for key in keys:
            self.bucket.put(key, STORED)

    def store_key(self, key: str) -> str:
        return key.lstrip("/")

    async def call(self, operation, **parameters):
        assert operation.startswith("list_")
        self.pages += 1
        delimiter = parameters["Delimiter"] if len(parameters["Delimiter"]) == 1 else ""
        length = min(parameters["MaxKeys"], self.page_length)
        keys, prefixes, has_more = self.bucket.listing(parameters["Prefix"], delimiter, parameters["Marker"], length)
        return {
            "Contents": [{"Key": key} for key in keys],
            "CommonPrefixes": [{"Prefix": prefix} for prefix in prefixes],
            "IsTruncated": has_more,
        }


async def test_store_without_long_delimiters_lists_marked():
    paths = ["a", "a-b", "a.b/c", "a/0", "a/b", "b", "c/d/e"]
    keys = [f"p/{path}/{below}" for path in paths for below in ("_layers/1", "_layers/2", "_manifests/3", "_u/4/5")]
    store = PlainStore(*keys, "p/_own/x/_layers/1", "p/x", "q/a/_layers/1")
    for after, expected in (("", sorted(paths)), ("a", sorted(paths)[1:])):
        assert [path for page in await collect(names.marked(store, "/p/", "_", after)) for path in page] == expected
    assert store.pages < 2 * len(keys)


def fill(server, *keys):
    for key in keys:
        server.buckets["images"].put(key, STORED)


async def test_tag_with_a_common_prefix_is_kept(server, storage):
    """The fork deleted 10 and 1.2 with tag 1."""
    tags = ["1", "1-rc", "1.2", "1.2.3", "10", "1_", "1a", "0"]
    fill(server, *(f"t/{tag}/current/link" for tag in tags), *(f"t/{tag}/index/sha256/ab/link" for tag in tags))
    await storage.delete_tree("/t/1")
    assert await collect(storage.list_children("/t")) == sorted(set(tags) - {"1"})
    await storage.delete_tree("/t/1.2", "/t/0", "/t/missing")
    assert await collect(storage.list_children("/t")) == sorted(set(tags) - {"1", "1.2", "0"})


@pytest.mark.parametrize("seed", range(8))
async def test_any_trees_are_removed_exactly(server, storage, seed):
    """Whatever begins alike, and however pages fall."""
    rng = random.Random(seed)
    alphabet = ["1", "1-", "1.", "1.0", "10", "1a", "A", "b", "b.parts", "b-", "_x"]
    keys = {"/".join(["t", rng.choice(alphabet), rng.choice(alphabet)]) for _ in range(60)}
    keys |= {f"t/{rng.choice(alphabet)}/{rng.choice(alphabet)}/{n}" for n in range(20)}
    fill(server, *keys)
    prefixes = [f"/t/{name}" for name in rng.sample(alphabet, rng.randint(1, 5))]
    await storage.delete_tree(*prefixes, *prefixes[:1])
    mine = tuple(f"{prefix[1:]}/" for prefix in prefixes)
    assert server.objects() == sorted(key for key in keys if not key.startswith(mine))


async def test_tree_beside_a_thousand_similar_ones_is_removed(server, storage):
    fill(server, *(f"t/1.{number:04}/link" for number in range(1_500)), "t/1/link", "t/10/link", "t/1x/link")
    await storage.delete_tree("/t/1")
    assert len(server.objects()) == 1_502
    await storage.delete_tree("/t/1.0000", "/t/10", "/t/1.1499")
    assert len(server.objects()) == 1_499
    assert "t/1x/link" in server.objects()


async def test_tree_longer_than_a_page_is_removed(server, storage):
    fill(server, *(f"t/a/{number}" for number in range(2_300)), *(f"t/b/{number}" for number in range(1_200)), "t/c/x")
    await storage.delete_tree("/t/a", "/t/b")
    assert server.objects() == ["t/c/x"]
    assert server.counts == {"list_objects": 4, "delete_objects": 4}


async def test_highest_keys_are_deleted_first(server, storage, monkeypatch):
    fill(server, "t/1/current/link", *(f"t/1/index/{number}" for number in range(1_200)))
    batches = []
    bucket = server.buckets["images"]
    delete = bucket.delete

    def record(key):
        batches.append(key)
        delete(key)

    monkeypatch.setattr(bucket, "delete", record)
    await storage.delete_tree("/t/1/current", "/t/1")
    assert batches == sorted(batches, reverse=True)


async def test_object_named_like_a_record_is_kept(server, storage):
    """Only a record belongs to the key before its suffix."""
    fill(server, "p/a/x")
    await stage(storage, "/p/b", payload(17 * MIB))
    await storage.write("/p/a.parts", b'{"upload":"","etags":[],"size":0}')
    await storage.delete_tree("/p/b")
    assert server.leftovers() == ["p/a.parts", "p/a/x"]
    await storage.delete_tree("/p/a/x")
    assert server.leftovers() == ["p/a.parts"]


async def test_thousands_of_names_around_a_page_are_ordered(server, storage):
    repositories = ["team/app", *(f"team/app-{number:04}" for number in range(2_100)), "team/app0", "team/app/x"]
    fill(server, *(f"p/{name}/_layers/link" for name in repositories))
    assert await collect(storage.list_marked("/p", "_")) == sorted(repositories)
    # Three pages, and the questions whether there are `team/app` and `team`.
    assert server.counts == {"list_objects": 4}


async def test_children_around_pages_are_ordered(server, storage):
    tags = ["v1", *(f"v1-{number:04}" for number in range(2_100)), "v10"]
    fill(server, *(f"p/{name}/current/link" for name in tags))
    assert await collect(storage.list_children("/p")) == sorted(tags)
    assert server.counts == {"list_objects": 4}


async def test_uploads_are_listed_page_by_page(monkeypatch):
    store = PlainStore()
    pages: dict[str, dict[str, Any]] = {
        "": {"Uploads": [{"Key": "a", "UploadId": "1"}], "NextKeyMarker": "a", "NextUploadIdMarker": "1"},
        "a": {"Uploads": [{"Key": "b", "UploadId": "2"}]},
    }

    async def call(_operation, *, KeyMarker="", **_):  # noqa: N803 - botocore's
        return {**pages[KeyMarker], "IsTruncated": not KeyMarker}

    monkeypatch.setattr(store, "call", call)
    found = await collect(list_uploads(store, ""))
    assert [(upload.store_key, upload.upload_id) for upload in found] == [("a", "1"), ("b", "2")]


async def test_store_that_lists_objects_for_uploads_has_none(monkeypatch):
    store = PlainStore("a", "b", "c", "d")

    async def call(_operation, **_):
        return {"IsTruncated": True, "Contents": []}

    monkeypatch.setattr(store, "call", call)
    assert await collect(list_uploads(store, "")) == []

"""Keys of links are read as they are spelled."""

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.store.link_keys import LayerKey, ReferrerKey, RevisionKey, TagKey, parse_blob_key, parse_link_key

NAME = RepositoryName("team/app")
FIRST, SECOND = Digest.of(b"first"), Digest.of(b"second", "sha512")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        (layout.tag_current_link(NAME, Tag("v1")), TagKey(NAME, Tag("v1"))),
        (layout.tag_current_link(NAME, Tag("_layers")), TagKey(NAME, Tag("_layers"))),
        (layout.revision_link(NAME, SECOND), RevisionKey(NAME, SECOND)),
        (layout.layer_link(NAME, FIRST), LayerKey(NAME, FIRST)),
        (layout.referrer_link(NAME, FIRST, SECOND), ReferrerKey(NAME, FIRST, SECOND)),
        (layout.tag_index_link(NAME, Tag("v1"), FIRST), None),
        (f"{layout.signatures(NAME, FIRST)}/sha256/{FIRST.encoded}/link", None),
        (layout.upload_started_at(NAME, "x"), None),
        (layout.blob_data(FIRST), None),
        (f"{layout.REPOSITORIES}/Team/_layers/sha256/{FIRST.encoded}/link", None),
        (f"{layout.REPOSITORIES}/team/_layers/sha256/xyz/link", None),
        (f"{layout.REPOSITORIES}/team/_manifests/tags/-x/current/link", None),
        (f"{layout.REPOSITORIES}/team/readme", None),
    ],
)
def test_key_is_parsed_as_written(key, meant):
    assert parse_link_key(key) == meant


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (layout.blob_data(FIRST), FIRST),
        (layout.blob_data(SECOND), SECOND),
        (f"{layout.blob_directory(FIRST)}/other", None),
        (f"{layout.BLOBS}/sha256/00/{SECOND.encoded}/data", None),
        (f"{layout.BLOBS}/sha256/zz/{FIRST.encoded}/data", None),
        (layout.layer_link(NAME, FIRST), None),
    ],
)
def test_blob_key_holds_the_digest(key, digest):
    assert parse_blob_key(key) == digest


def test_revision_links_and_signatures_differ():
    link, signature = layout.revision_link(NAME, FIRST), f"{layout.signatures(NAME, FIRST)}/sha256/{FIRST.encoded}/link"
    assert (layout.is_revision_link(link), layout.is_signature(link)) == (True, False)
    assert (layout.is_revision_link(signature), layout.is_signature(signature)) == (False, True)
    assert not layout.is_revision_link(f"{layout.revision(NAME, FIRST)}/other")

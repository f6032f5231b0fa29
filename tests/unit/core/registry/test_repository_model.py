"""A repository against a model of it: any sequence of pushes, tags and deletes, on the in-memory adapter."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import BlobUnknownError, ManifestBlobUnknownError, ManifestUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store.manifest_cache import ManifestCache
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import CoreServices
from tests.support.invariants import revisions_of, tags_of

NAME = RepositoryName("team/app")
ELSEWHERE = RepositoryName("team")
OCI = media_types.OCI_MANIFEST
BLOBS = [b"", b"{}", b"one", b"two"]
SUBJECT = image_manifest(b"{}", [])
IMAGES = [
    SUBJECT,
    image_manifest(b"{}", [b"one"]),
    image_manifest(b"{}", [b"one", b"two"]),
    image_manifest(b"", [], subject=descriptor(SUBJECT, OCI), artifactType="a/b"),
]
INDEX = image_index(IMAGES[:2])

blobs = st.sampled_from(BLOBS)
images = st.sampled_from(IMAGES)
tags = st.sampled_from([Tag("1"), Tag("10"), Tag("1.2"), Tag("latest")])
algorithms = st.sampled_from(["sha256", "sha512"])


class RepositoryMachine(RuleBasedStateMachine):
    """The model: which blobs are linked, which manifests are held, and where each tag points."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.services = CoreServices(memory=ManifestCache())
        self.linked = set()
        self.held = set()
        self.tagged = {}

    def teardown(self):
        self.loop.close()

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def fails(self, awaitable, error):
        try:
            self.run(awaitable)
        except error:
            return True
        return False

    @rule(content=blobs, algorithm=algorithms)
    def push_blob(self, content, algorithm):
        self.linked.add(self.run(self.services.push_blob(NAME, content, algorithm)))

    @rule(content=blobs)
    def mount_blob(self, content):
        digest = self.run(self.services.push_blob(ELSEWHERE, content))
        assert self.run(self.services.blobs.mount(NAME, digest, source=ELSEWHERE))
        self.linked.add(digest)

    @rule(content=blobs)
    def delete_blob(self, content):
        digest = Digest.of(content)
        missing = self.fails(self.services.blobs.unlink(NAME, digest), BlobUnknownError)
        assert missing == (digest not in self.linked)
        self.linked.discard(digest)

    @rule(content=images, tag=st.none() | tags, algorithm=algorithms)
    def push_image(self, content, tag, algorithm):
        digest = Digest.of(content, algorithm if tag is None else "sha256")
        put = self.services.manifests.put(
            NAME, content, OCI, digest=digest if tag is None else None, tags=[tag] if tag else []
        )
        needed = {Digest.of(blob) for blob in BLOBS if Digest.of(blob).encode() in content and blob != b""}
        if b'"artifactType"' in content:
            needed = {Digest.of(b"")}
        refused = self.fails(put, ManifestBlobUnknownError)
        assert refused == (not needed <= self.linked)
        if not refused:
            self.held.add(digest)
            if tag:
                self.tagged[tag] = digest

    @rule(tag=tags)
    def push_index(self, tag):
        put = self.services.manifests.put(NAME, INDEX, media_types.OCI_INDEX, tags=[tag])
        refused = self.fails(put, ManifestBlobUnknownError)
        assert refused == (not {Digest.of(image) for image in IMAGES[:2]} <= self.held)
        if not refused:
            self.held.add(Digest.of(INDEX))
            self.tagged[tag] = Digest.of(INDEX)

    @rule(tag=tags)
    def delete_tag(self, tag):
        missing = self.fails(self.services.manifests.delete(NAME, tag), ManifestUnknownError)
        assert missing == (tag not in self.tagged)
        self.tagged.pop(tag, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def delete_manifest(self, data):
        digest = data.draw(st.sampled_from(sorted(self.held)))
        removed = self.run(self.services.manifests.delete(NAME, digest))
        assert sorted(removed) == sorted(tag for tag, target in self.tagged.items() if target == digest)
        self.held.discard(digest)
        self.tagged = {tag: target for tag, target in self.tagged.items() if target != digest}

    @invariant()
    def lists_are_the_models(self):
        assert self.run(tags_of(self.services, NAME)) == sorted(self.tagged)
        assert set(self.run(revisions_of(self.services, NAME))) == self.held

    @invariant()
    def tags_resolve_to_what_the_model_says(self):
        for tag, digest in self.tagged.items():
            assert self.run(self.services.manifests.get(NAME, tag)).digest == digest

    @invariant()
    def blobs_are_those_of_the_model(self):
        for content in BLOBS:
            digest = Digest.of(content)
            missing = self.fails(self.services.blobs.stat(NAME, digest), BlobUnknownError)
            assert missing == (digest not in self.linked)

    @invariant()
    def referrers_are_the_held_ones(self):
        found = self.run(self.services.referrers.page(NAME, Digest.of(SUBJECT))).items
        referring = {Digest.of(IMAGES[3], algorithm) for algorithm in ("sha256", "sha512")}
        assert {entry.digest for entry in found} == referring & self.held


TestRepository = RepositoryMachine.TestCase
TestRepository.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

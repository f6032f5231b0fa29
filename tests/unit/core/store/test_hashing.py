"""Pieces of a long body are hashed beside the thread that writes them: in order, before a buffer is used again."""

import pytest

from core.model.digest import SHA256, Digest, StandardHasher
from core.store.hashing import append_now_and_hash
from tests.support.streams import payload

LARGE = 300_000
SHORT = 1_000


class Lazy:
    """Makes each call only when its end is waited for: the last moment that the caller allows."""

    def __init__(self):
        self.started = 0
        self.under_way = 0

    def beside(self, function, *arguments):
        self.started += 1
        self.under_way += 1

        def wait():
            function(*arguments)
            self.under_way -= 1

        return wait


def two_buffers(content, sizes):
    """Yield the content in pieces, each in the buffer that the last piece but one was in."""
    buffers, start = [bytearray(LARGE), bytearray(LARGE)], 0
    for number, size in enumerate(sizes):
        piece = memoryview(buffers[number % 2])[:size]
        piece[:] = content[start : start + size]
        start += size
        yield piece


@pytest.mark.parametrize("sizes", [[LARGE] * 12, [LARGE] * 4 + [SHORT, LARGE, LARGE, SHORT, SHORT, LARGE]])
def test_pieces_are_hashed_in_order_before_their_buffer_is_used_again(sizes):
    lazy, hasher, written = Lazy(), StandardHasher(SHA256), bytearray()
    content = payload(sum(sizes))
    append_now_and_hash(two_buffers(content, sizes), written.extend, hasher, lazy.beside)
    assert written == content
    assert hasher.digest() == Digest.of(content)
    assert (lazy.started > 2, lazy.under_way) == (True, 0)


def test_short_body_is_hashed_by_the_thread_that_writes_it():
    lazy, hasher = Lazy(), StandardHasher(SHA256)
    content = payload(3 * LARGE)
    append_now_and_hash(two_buffers(content, [LARGE] * 3), lambda _piece: None, hasher, lazy.beside)
    assert hasher.digest() == Digest.of(content)
    assert lazy.started == 0


def test_body_that_cannot_be_hashed_yet_is_written():
    lazy, written = Lazy(), bytearray()
    content = payload(8 * LARGE)
    append_now_and_hash(two_buffers(content, [LARGE] * 8), written.extend, None, lazy.beside)
    assert written == content
    assert lazy.started == 0


def test_failing_store_leaves_no_thread_that_reads_a_buffer():
    lazy, appended = Lazy(), []

    def append(piece):
        appended.append(piece)
        if len(appended) == 6:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        append_now_and_hash(two_buffers(payload(9 * LARGE), [LARGE] * 9), append, StandardHasher(SHA256), lazy.beside)
    assert (lazy.started, lazy.under_way) == (3, 0)

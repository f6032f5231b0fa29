"""Admission: whether fetched content may be stored in the cache."""


class Admission:
    """Admits all content; `core.pull_through.usage` has the admission to a cache with limits.

    One per process; safe for concurrent tasks.
    """

    async def make_room(self, size: int) -> bool:
        """Return whether `size` more bytes may be stored; call this before content is committed to the store.

        Does not wait for space: if the cache is full, an eviction is requested, and the content is passed on to the
        clients without being stored. Mostly costs no storage request.
        """
        del size
        return True

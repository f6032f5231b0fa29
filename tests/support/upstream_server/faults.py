"""The faults and peculiarities of the upstream server. Tests change the attributes while the server runs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Refusal:
    """A status, instead of the answer, to requests of these kinds."""

    status: int
    kinds: frozenset[str]
    headers: Mapping[str, str]
    times: int | None
    body: bytes

    def applies(self, kind: str) -> bool:
        """Whether this refuses a request of this kind; counts it."""
        if self.kinds and kind not in self.kinds and kind.partition(" ")[0] not in self.kinds:
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


@dataclass
class UpstreamFaults:
    """Kinds of requests are `manifest HEAD`, `blob GET` and so on, or `manifest` for all methods."""

    bytes_per_second: float | None = None
    """Pace of each blob."""
    bandwidth: float | None = None
    """Pace of all blobs together, in bytes per second."""
    ignores_ranges: bool = False
    omits_digest: bool = False
    """Whether manifests come without `Docker-Content-Digest`."""
    wrong_digest: str | None = None
    """The `Docker-Content-Digest` of each manifest, whatever its content."""
    omits_etag: bool = False
    gzips_json: bool = False
    """Whether JSON documents are compressed, whatever the client accepts."""
    omits_length: bool = False
    """Whether blobs and manifests are sent in chunks, without `Content-Length`."""
    redirects: int = 0
    """Number of redirects (307) from origin to origin before a blob; the first leads to the storage service."""
    has_referrers: bool = True
    """Whether the referrers API exists; otherwise it answers 404."""
    filters_referrers: bool = True
    page_size: int = 100
    """Entries per page of tags and referrers."""
    quota: int | None = None
    """Number of manifests that may still be fetched with GET, as at Docker Hub; further ones are answered 429."""
    quota_limit: int = 100
    retry_after: int = 60
    """`Retry-After` once the quota is used up."""
    _refusals: list[Refusal] = field(default_factory=list)
    _cuts: list[int] = field(default_factory=list)
    _held_after: int | None = None
    _released: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def refuse(
        self,
        status: int,
        *kinds: str,
        times: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b'{"errors":[{"code":"UNKNOWN","message":"refused by the test"}]}',
    ) -> None:
        """Answer with a status until `recover`, or a number of times. Status 0 closes the connection."""
        self._refusals.append(Refusal(status, frozenset(kinds), headers or {}, times, body))

    def cut_blobs(self, after: int, *, times: int = 1) -> None:
        """Close the connection after this many bytes of each of the next blob responses."""
        self._cuts += [after] * times

    def hold_blobs(self, after: int = 0) -> None:
        """Send only this many bytes of each blob, and the rest after `release`."""
        self._released = asyncio.Event()
        self._held_after = after

    def release(self) -> None:
        """Send the rest of the blobs that are held."""
        released, self._held_after = self._released, None
        if released is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(released.set)

    def recover(self) -> None:
        """Remove all refusals and cuts."""
        self._refusals.clear()
        self._cuts.clear()

    def refusal(self, kind: str) -> Refusal | None:
        """Return the refusal of this request, if any."""
        return next((each for each in list(self._refusals) if each.applies(kind)), None)

    def next_cut(self) -> int | None:
        """Return the number of bytes after which this blob response ends early."""
        return self._cuts.pop(0) if self._cuts else None

    def hold(self) -> tuple[int, asyncio.Event] | None:
        """Return after how many bytes this blob response waits, and for what."""
        if self._held_after is None or self._released is None:
            return None
        return self._held_after, self._released

    def run_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use the server's loop for `release`."""
        self._loop = loop

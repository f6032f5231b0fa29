"""Recording, finding, listing and removing the users of an identity provider, on the store that all replicas share."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.concurrency import REQUESTS_AT_ONCE, closing, map_bounded, retrieve_error, slices
from core.errors import ObjectNotFoundError, ObjectTooLargeError, StorageCorruptError, UnknownError
from core.external_users.user import ExternalUser
from core.ports.blob_storage import BlobStorage
from core.ports.identity_provider import SignInRefusedError
from core.store.access_key_objects import USERS, external_user, external_user_id

VIEW_SECONDS_MAX: Final = 4.0
"""Maximum age of a process's last read of a user: a removed user is refused after it."""
_REMEMBERED_MAX: Final = 10_000
_RECORD_BYTES_MAX: Final = 2 * 1024 * 1024
"""Above the largest record: 500 groups of 255 characters, escaped."""
_ID_LENGTH: Final = 64
_STAMP_BYTES: Final = 8

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _View:
    user: ExternalUser | None
    read_at: float


class ExternalUsers:
    """The users of a store; one per process, safe for concurrent tasks.

    Args:
        storage: the store.
        remember: time from the last sign-in to the end of a user.
        entropy: returns a number of random bytes, suitable for secrets.
        clock: monotonic seconds.
        now: the current time, UTC-aware.
    """

    def __init__(
        self,
        storage: BlobStorage,
        *,
        remember: timedelta,
        entropy: Callable[[int], bytes],
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._remember = remember
        self._entropy = entropy
        self._clock = clock
        self._now = now
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._reading: dict[str, asyncio.Task[_View]] = {}

    async def record(self, *, name: str, groups: frozenset[str], provider: str, subject: str) -> ExternalUser:
        """Record a sign-in, and return the user. Two requests: a read and a write.

        Raises:
            SignInRefusedError: the name belongs to another subject of the same provider.
        """
        user_id = external_user_id(name)
        old = await self._read(user_id)
        is_known = old is not None and old.provider == provider
        if old is not None and is_known and old.subject != subject:
            raise SignInRefusedError(
                f"the user {name} is known with another subject, so the name has a new owner at the provider: "
                "`registry users remove` makes it free"
            )
        user = ExternalUser(
            name=name,
            groups=groups,
            provider=provider,
            subject=subject,
            stamp=old.stamp if old is not None and is_known else self._entropy(_STAMP_BYTES).hex(),
            signed_in_at=self._now().replace(microsecond=0),
        )
        await self._storage.write(external_user(user_id), user.encode())
        self._keep(name, _View(user, self._clock()))
        return user

    async def find(self, name: str) -> ExternalUser | None:
        """Return a user as of now; None if the user is unknown, removed, or not remembered any more.

        At most one request, and none within `VIEW_SECONDS_MAX` of the last read of the same user.
        """
        view = self._views.get(name)
        if view is None or self._clock() - view.read_at > VIEW_SECONDS_MAX:
            view = await self._look(name)
        return view.user if view.user is not None and self.is_remembered(view.user) else None

    def is_remembered(self, user: ExternalUser) -> bool:
        """Whether the user's last sign-in is recent enough."""
        return user.is_remembered(self._now(), self._remember)

    async def listed(self) -> AsyncIterator[ExternalUser]:
        """Yield all users, also those who are not remembered any more. A listing, and one request for each user.

        A record that cannot be read is left out, and its user cannot do anything either.
        """
        async with closing(self._storage.list_children(USERS)) as names:
            ids = [name async for name in names if len(name) == _ID_LENGTH]
        for some in slices(ids, REQUESTS_AT_ONCE):
            for user in await map_bounded(self._read, some):
                if user is not None:
                    yield user

    async def remove(self, name: str) -> None:
        """Remove a user. Every replica refuses the user's sessions and keys after `VIEW_SECONDS_MAX` at the latest.

        Raises:
            UnknownError: there is no such user.
        """
        user_id = external_user_id(name)
        if await self._read(user_id) is None:
            raise UnknownError(f"there is no user {name}")
        await self._storage.delete([external_user(user_id)])
        self._views.pop(name, None)

    async def _look(self, name: str) -> _View:
        """Read a user, together with all callers that wait for the same one."""
        reading = self._reading.get(name)
        if reading is None:
            reading = self._reading[name] = asyncio.create_task(self._renew(name))
            reading.add_done_callback(lambda _: self._reading.pop(name, None))
            reading.add_done_callback(retrieve_error)
        return await asyncio.shield(reading)

    async def _renew(self, name: str) -> _View:
        read_at = self._clock()
        view = _View(await self._read(external_user_id(name)), read_at)
        self._keep(name, view)
        return view

    def _keep(self, name: str, view: _View) -> None:
        self._views.pop(name, None)
        self._views[name] = view
        if len(self._views) > _REMEMBERED_MAX:
            self._views.popitem(last=False)

    async def _read(self, user_id: str) -> ExternalUser | None:
        try:
            user = ExternalUser.decode(await self._storage.read(external_user(user_id), limit=_RECORD_BYTES_MAX))
        except ObjectNotFoundError:
            return None
        except (ObjectTooLargeError, StorageCorruptError) as error:
            _logger.warning("the record %s of a user cannot be read: %s", user_id, error)
            return None
        # A record that was copied to another key gives no rights.
        return user if external_user_id(user.name) == user_id else None

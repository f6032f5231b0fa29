"""Groups of users in a file, one group a line: `group: user user …` (Apache's `AuthGroupFile`)."""

from collections.abc import Mapping

from adapters.auth.watched_file import WatchedFile
from core.ports.authenticator import CredentialSourceError


class GroupFile:
    """The members of each group, read again when the file changes."""

    def __init__(self, path: str) -> None:
        self._file = WatchedFile(path, "the group file", parse_groups)

    async def of(self, name: str) -> frozenset[str]:
        """Return the groups of the user `name`."""
        return (await self._file.current()).get(name, frozenset())

    async def load(self) -> None:
        """Read the file unless it was read before.

        Raises:
            CredentialSourceError: the file cannot be used.
        """
        await self._file.current()

    async def reload(self) -> None:
        """Read the file now; see `WatchedFile.reload`."""
        await self._file.reload()


def parse_groups(content: bytes) -> Mapping[str, frozenset[str]]:
    """Return the groups of each user; a group may span several lines.

    Raises:
        CredentialSourceError: a line is not of the form `group: users`.
    """
    groups: dict[str, set[str]] = {}
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise CredentialSourceError("is not UTF-8") from None
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        group, colon, users = text.partition(":")
        if not colon or not group.strip():
            raise CredentialSourceError(f"line {number} is not of the form `group: user user`")
        for user in users.split():
            groups.setdefault(user, set()).add(group.strip())
    return {user: frozenset(names) for user, names in groups.items()}

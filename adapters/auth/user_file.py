"""Changes to an htpasswd file: adding and removing users, and setting passwords, while servers read it.

The file is replaced atomically, so a server reads the old or the new content. Comments, empty lines and the lines of
other users stay as they are.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import bcrypt

from adapters.auth.htpasswd import PASSWORD_BYTES_MAX, is_bcrypt
from core.errors import InvalidInputError, UnknownError

COST: Final = 10
"""The cost of new bcrypt hashes: a login takes about 50 ms of a core."""
NAME_BYTES_MAX: Final = 255
_NEW_FILE_MODE: Final = 0o600


class UserFile:
    """An htpasswd file that may not exist yet.

    Args:
        path: may be a symbolic link, whose target is changed.
        cost: the cost of new bcrypt hashes.
    """

    def __init__(self, path: str, *, cost: int = COST) -> None:
        self._path = Path(path)
        self._cost = cost

    def names(self) -> Sequence[str]:
        """Return the users who can log in, in the order of the file.

        Raises:
            OSError: the file cannot be read.
        """
        # The last line of a user counts, as for the server.
        users = filter(_is_user, self._lines())
        can_log_in = {_name_of(line): is_bcrypt(line.partition(b":")[2].strip()) for line in users}
        return [name for name, can in can_log_in.items() if can]

    def add(self, name: str, password: str) -> None:
        """Add a user.

        Raises:
            InvalidInputError: the user exists, or the name or the password is not allowed.
            OSError: the file cannot be written; it is unchanged.
        """
        require_name(name)
        line = self._line(name, password)

        def change(lines: list[bytes]) -> list[bytes]:
            if any(_is_of(each, name) for each in lines):
                raise InvalidInputError(f"the user {name} exists already; `registry users passwd` sets a password")
            return [*lines, line]

        self._change(change)

    def set_password(self, name: str, password: str) -> None:
        """Set the password of a user. All sessions and tokens of the old password end.

        Raises:
            UnknownError: there is no such user.
            InvalidInputError: the password is not allowed.
            OSError: the file cannot be written; it is unchanged.
        """
        line = self._line(name, password)

        def change(lines: list[bytes]) -> list[bytes]:
            _require(lines, name)
            first = next(number for number, each in enumerate(lines) if _is_of(each, name))
            return [*lines[:first], line, *(each for each in lines[first + 1 :] if not _is_of(each, name))]

        self._change(change)

    def remove(self, name: str) -> None:
        """Remove a user with all lines of that name.

        Raises:
            UnknownError: there is no such user.
            OSError: the file cannot be written; it is unchanged.
        """

        def change(lines: list[bytes]) -> list[bytes]:
            _require(lines, name)
            left = [line for line in lines if not _is_of(line, name)]
            # An empty file is one that another program is about to write; a server would keep the last users.
            return left or [b"# no users\n"]

        self._change(change)

    def _line(self, name: str, password: str) -> bytes:
        encoded = password.encode()
        if not encoded:
            raise InvalidInputError("the password is empty")
        if len(encoded) > PASSWORD_BYTES_MAX:
            raise InvalidInputError(f"the password has more than {PASSWORD_BYTES_MAX} bytes, and bcrypt uses no more")
        if b"\0" in encoded:
            raise InvalidInputError("the password contains a null character")
        return name.encode() + b":" + bcrypt.hashpw(encoded, bcrypt.gensalt(self._cost)) + b"\n"

    def _lines(self) -> list[bytes]:
        try:
            return self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []

    def _change(self, change: Callable[[list[bytes]], list[bytes]]) -> None:
        target = Path(os.path.realpath(self._path))
        with _locked(target.parent):
            lines = self._lines()
            if lines and not lines[-1].endswith(b"\n"):
                lines[-1] += b"\n"
            _replace(target, b"".join(change(lines)))


def require_name(name: str) -> None:
    """Raise an error if a new user must not have this name.

    Raises:
        InvalidInputError: the name cannot stand in the file, or means something else in access rules.
    """
    if not name or len(name.encode()) > NAME_BYTES_MAX:
        raise InvalidInputError(f"a user name has 1 to {NAME_BYTES_MAX} bytes")
    if ":" in name or not name.isprintable() or name != name.strip() or name.startswith("#"):
        raise InvalidInputError("a user name has no colon, no control characters and no spaces at its ends")
    if name.startswith("@") or name in {"anonymous", "authenticated"}:
        raise InvalidInputError(f"{name} has a meaning of its own in access rules")


def _require(lines: Sequence[bytes], name: str) -> None:
    if not any(_is_of(line, name) for line in lines):
        raise UnknownError(f"there is no user {name}")


def _is_user(line: bytes) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith(b"#") and b":" in text


def _name_of(line: bytes) -> str:
    return line.strip().partition(b":")[0].decode(errors="replace")


def _is_of(line: bytes, name: str) -> bool:
    return _is_user(line) and line.strip().partition(b":")[0] == name.encode()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change files of a folder with this module."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably, with the mode and the owner of the old one."""
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), old.st_mode & 0o7777 if old else _NEW_FILE_MODE)
            if old and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

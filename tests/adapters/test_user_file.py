"""Changes to an htpasswd file."""

import stat
import threading
import time

import pytest

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.user_file import UserFile
from core.errors import InvalidInputError, UnknownError
from core.ports.authenticator import CredentialsInvalidError
from tests.support.htpasswd import basic, hash_of

COST = 4


@pytest.fixture
def path(tmp_path):
    return tmp_path / "htpasswd"


@pytest.fixture
def users(path):
    return UserFile(str(path), cost=COST)


async def can_log_in(path, name, password):
    async with HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic) as authenticator:
        try:
            return (await authenticator.authenticate(basic(name, password))).name == name
        except CredentialsInvalidError:
            return False


async def test_added_user_logs_in(users, path):
    users.add("alice", "secret")
    users.add("bob", "пароль")
    assert users.names() == ["alice", "bob"]
    assert await can_log_in(path, "alice", "secret")
    assert await can_log_in(path, "bob", "пароль")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_changed_password_replaces_the_old_one(users, path):
    users.add("alice", "old")
    users.add("bob", "b")
    users.set_password("alice", "new")
    assert users.names() == ["alice", "bob"]
    assert await can_log_in(path, "alice", "new")
    assert not await can_log_in(path, "alice", "old")


async def test_removed_user_cannot_log_in(users, path):
    users.add("alice", "secret")
    users.remove("alice")
    assert users.names() == []
    assert not await can_log_in(path, "alice", "secret")


def test_all_lines_of_a_user_are_replaced_or_removed(users, path):
    path.write_text(f"alice:{hash_of('1')}\nbob:{hash_of('b')}\nalice:{hash_of('2')}\n")
    users.set_password("alice", "3")
    assert [line.partition(":")[0] for line in path.read_text().splitlines()] == ["alice", "bob"]
    users.remove("alice")
    assert [line.partition(":")[0] for line in path.read_text().splitlines()] == ["bob"]


def test_other_lines_and_the_mode_stay(users, path):
    other = f"# people\n\nbob:{hash_of('b')}\ncarol:$apr1$x\n dave:{hash_of('d')}"
    path.write_text(other)
    path.chmod(0o640)
    users.add("alice", "secret")
    assert path.read_text().startswith(other + "\nalice:$2b$")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert users.names() == ["bob", "dave", "alice"]
    users.remove("dave")
    assert users.names() == ["bob", "alice"]


def test_target_of_a_link_is_changed(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    UserFile(str(link), cost=COST).add("alice", "secret")
    assert link.is_symlink()
    assert path.read_text().startswith("alice:")


@pytest.mark.parametrize(
    "name", ["", "a:b", "#a", " a", "a ", "a\nb", "@dev", "anonymous", "authenticated", "a" * 256, "a\0"]
)
def test_names_that_cannot_be_used_are_refused(users, path, name):
    with pytest.raises(InvalidInputError):
        users.add(name, "secret")
    assert not path.exists()


@pytest.mark.parametrize("password", ["", "a" * 73, "é" * 37, "a\0b"])
def test_passwords_that_bcrypt_does_not_verify_whole_are_refused(users, path, password):
    with pytest.raises(InvalidInputError):
        users.add("alice", password)
    assert not path.exists()


def test_wrong_changes_leave_the_file(users, path):
    users.add("alice", "secret")
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="exists already"):
        users.add("alice", "other")
    with pytest.raises(UnknownError):
        users.set_password("bob", "x")
    with pytest.raises(UnknownError):
        users.remove("bob")
    assert path.read_bytes() == before


def test_failed_write_leaves_the_file_and_nothing_else(users, path, monkeypatch):
    users.add("alice", "secret")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        users.add("bob", "b")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["htpasswd"]


def test_changes_at_the_same_time_are_all_kept(path):
    names = [f"user{number}" for number in range(8)]
    threads = [threading.Thread(target=UserFile(str(path), cost=COST).add, args=(name, "x")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(UserFile(str(path)).names()) == names

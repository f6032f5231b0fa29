"""Users in a file: hashes, changes of the file, the memory of verified passwords, and time."""

import asyncio
import os
import statistics
import time
from contextlib import asynccontextmanager

import pytest

from adapters.auth.credential_cache import ENTRIES_MAX, LIFETIME_SECONDS, CredentialCache
from adapters.auth.groups import GroupFile, parse_groups
from adapters.auth.htpasswd import WAITING_MAX, HtpasswdAuthenticator
from core.errors import TooManyRequestsError
from core.model.access import ANONYMOUS
from core.ports.authenticator import CredentialsInvalidError, CredentialSourceError
from tests.support.htpasswd import basic, hash_of, write_htpasswd


@asynccontextmanager
async def opened(path, **options):
    async with HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic, **options) as authenticator:
        yield authenticator


async def is_let_in(authenticator, name, password):
    try:
        principal = await authenticator.authenticate(basic(name, password))
    except CredentialsInvalidError:
        return False
    assert principal.name == name
    return True


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
async def test_all_kinds_of_bcrypt_are_accepted(tmp_path, prefix):
    path = tmp_path / "htpasswd"
    path.write_text(f"# people\n\nalice:{hash_of('secret', prefix=prefix)}\n")
    async with opened(path) as authenticator:
        assert await is_let_in(authenticator, "alice", "secret")
        assert not await is_let_in(authenticator, "alice", "Secret")
        assert not await is_let_in(authenticator, "alice", "")


@pytest.mark.parametrize("password", ["pass:with:colons", "pässwörd", "x" * 100, "\0", " "])
async def test_strange_passwords_work(tmp_path, password):
    path = write_htpasswd(tmp_path / "htpasswd", alice=password[:72])
    async with opened(path) as authenticator:
        assert await is_let_in(authenticator, "alice", password)


async def test_other_hashes_never_match(tmp_path, caplog):
    path = tmp_path / "htpasswd"
    path.write_text(f"md5:$apr1$x$y\nplain:secret\nalice:{hash_of('secret')}\nalice:{{SHA}}x\nbob:{hash_of('b')}\n")
    async with opened(path) as authenticator:
        assert not await is_let_in(authenticator, "plain", "secret")
        # The last line of a user counts, as in distribution, also where it is of no use.
        assert not await is_let_in(authenticator, "alice", "secret")
        assert await is_let_in(authenticator, "bob", "b")
    assert "line 2" in caplog.text
    assert "secret" not in caplog.text


async def test_last_line_of_a_user_counts(tmp_path):
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{hash_of('old')}\nalice:{hash_of('new')}\n")
    async with opened(path) as authenticator:
        assert await is_let_in(authenticator, "alice", "new")
        assert not await is_let_in(authenticator, "alice", "old")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory; `registry users add NAME` creates it"),
        (b"", "is empty"),
        (b"# x\nhunter2\n", "line 2"),
        (b":hunter2\n", "line 1"),
        (b"\xff\xfe:hunter2\n", "line 1"),
    ],
)
async def test_useless_file_stops_the_start(tmp_path, content, said):
    path = tmp_path / "htpasswd"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CredentialSourceError, match=said) as raised:
        async with opened(path):
            pass
    assert str(path) in str(raised.value)
    assert "hunter2" not in str(raised.value)


async def test_folder_in_the_place_of_the_file_refuses_all_users(tmp_path, caplog):
    """Debian's own configuration names one, and its registry starts with it."""
    folder = tmp_path / "htpasswd"
    folder.mkdir()
    async with opened(folder) as authenticator:
        assert "is a folder and counts as empty" in caplog.text
        assert not await is_let_in(authenticator, "alice", "secret")
        assert await authenticator.authenticate(None) == ANONYMOUS
        folder.rmdir()
        write_htpasswd(folder, alice="secret")
        assert await is_let_in(authenticator, "alice", "secret")
        folder.unlink()
        folder.mkdir()
        assert await is_let_in(authenticator, "alice", "secret")
    assert f"reload failed, keeping the content read before: the htpasswd file {folder}: is a folder" in caplog.text


async def test_folder_in_the_place_of_groups_is_refused(tmp_path):
    with pytest.raises(CredentialSourceError, match="is a folder"):
        await GroupFile(str(tmp_path)).of("alice")


async def test_clients_without_credentials_are_anonymous(tmp_path):
    """containers/image answers a Basic challenge with `:` when it has no credentials."""
    async with opened(write_htpasswd(tmp_path / "htpasswd", alice="secret")) as authenticator:
        assert await authenticator.authenticate(basic("", "")) == ANONYMOUS
        assert not await is_let_in(authenticator, "", "x")


async def test_closed_authenticator_verifies_no_user(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    authenticator = HtpasswdAuthenticator(realm="r", path=str(path), clock=time.monotonic)
    async with authenticator:
        pass
    with pytest.raises(RuntimeError, match="not open"):
        await authenticator.authenticate(basic("alice", "secret"))


async def test_worker_starts_with_the_files_read_before(tmp_path):
    """A file that is broken just now must not keep a worker from taking the place of one that died."""
    path, groups = write_htpasswd(tmp_path / "htpasswd", alice="secret"), tmp_path / "groups"
    groups.write_text("dev: alice\n")
    authenticator = HtpasswdAuthenticator(
        realm="r", path=str(path), clock=time.monotonic, groups=GroupFile(str(groups))
    )
    async with authenticator:
        path.write_text("broken\n")
        groups.unlink()
    async with authenticator:
        assert await is_let_in(authenticator, "alice", "secret")
        account = await authenticator.account("alice")
        assert account is not None
        assert account.principal.groups == {"dev"}


async def test_removed_user_is_cut_off_at_once(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret", bob="b")
    async with opened(path) as authenticator:
        assert await is_let_in(authenticator, "alice", "secret")
        write_htpasswd(path, bob="b")
        assert not await is_let_in(authenticator, "alice", "secret")
        assert await authenticator.account("alice") is None
        assert (await authenticator.account("bob")).principal.name == "bob"


async def test_stamp_of_an_account_changes_with_the_password_only(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    async with opened(path) as authenticator:
        before = await authenticator.account("alice")
        assert before.stamp not in path.read_text()
        path.write_text(path.read_text() + "bob:x\n")
        assert await authenticator.account("alice") == before
        write_htpasswd(path, alice="other")
        assert (await authenticator.account("alice")).stamp != before.stamp


async def test_file_without_users_cuts_off_all_users(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    async with opened(path) as authenticator:
        assert await is_let_in(authenticator, "alice", "secret")
        write_htpasswd(path)
        assert not await is_let_in(authenticator, "alice", "secret")


async def test_changed_password_counts_at_once(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="old")
    async with opened(path) as authenticator:
        assert await is_let_in(authenticator, "alice", "old")
        write_htpasswd(path, alice="new")
        assert not await is_let_in(authenticator, "alice", "old")
        assert await is_let_in(authenticator, "alice", "new")


async def test_change_of_the_same_size_and_time_is_detected(tmp_path):
    """Two writes within one tick of the file system's clock leave no trace but the content."""
    path = write_htpasswd(tmp_path / "htpasswd", alice="old")
    async with opened(path) as authenticator:
        assert await is_let_in(authenticator, "alice", "old")
        state = path.stat()
        path.write_text(f"alice:{hash_of('new')}\n")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert (path.stat().st_ino, path.stat().st_size) == (state.st_ino, state.st_size)
        assert await is_let_in(authenticator, "alice", "new")


async def test_exchanged_link_is_detected(tmp_path):
    """Kubernetes exchanges the link `..data`, through which the file is reached."""
    for version, password in (("v1", "old"), ("v2", "new")):
        (tmp_path / version).mkdir()
        write_htpasswd(tmp_path / version / "htpasswd", alice=password)
        os.utime(tmp_path / version / "htpasswd", (1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "htpasswd").symlink_to("..data/htpasswd")
    async with opened(tmp_path / "htpasswd") as authenticator:
        assert await is_let_in(authenticator, "alice", "old")
        (tmp_path / "fresh").symlink_to("v2")
        (tmp_path / "fresh").rename(tmp_path / "..data")
        assert await is_let_in(authenticator, "alice", "new")


def repr_of(content):
    return repr(content[:10] if content else content)


@pytest.mark.parametrize("is_settled", [True, False])
@pytest.mark.parametrize("broken", [None, b"", b"hunter2\n", b"#" * (16 * 1024 * 1024 + 1)], ids=repr_of)
async def test_broken_new_file_is_refused(tmp_path, caplog, broken, is_settled):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    if is_settled:
        os.utime(path, (1, 1))
    async with opened(path) as authenticator:
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
        for _ in range(3):
            assert await is_let_in(authenticator, "alice", "secret")
        assert caplog.text.count("reload failed, keeping the content read before") == 1
        with pytest.raises(CredentialSourceError):
            await authenticator.reload()
        assert caplog.text.count("reload failed, keeping the content read before") == 1
        assert "hunter2" not in caplog.text
        write_htpasswd(path, bob="b")
        assert await is_let_in(authenticator, "bob", "b")
        assert not await is_let_in(authenticator, "alice", "secret")


async def test_groups_of_users_are_returned(tmp_path):
    groups = tmp_path / "groups"
    groups.write_text("# teams\ndev: alice bob\nops: alice\n")
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    async with opened(path, groups=GroupFile(str(groups))) as authenticator:
        principal = await authenticator.authenticate(basic("alice", "secret"))
        assert principal.groups == {"dev", "ops"}
        groups.write_text("dev: bob\n")
        assert (await authenticator.account("alice")).principal.groups == frozenset()


async def test_missing_group_file_is_reported(tmp_path):
    with pytest.raises(CredentialSourceError, match=r"the group file .*No such file"):
        await GroupFile(str(tmp_path / "missing")).of("alice")


@pytest.mark.parametrize("content", [b"dev alice", b": alice", b"\xff: alice"])
def test_malformed_groups_are_refused(content):
    with pytest.raises(CredentialSourceError):
        parse_groups(content)


def test_verified_credentials_are_remembered_for_a_while():
    clock = [0.0]
    cache = CredentialCache(lambda: clock[0])
    cache.add(b"hash", "secret")
    assert cache.has(b"hash", "secret")
    assert not cache.has(b"hash", "other")
    assert not cache.has(b"other", "secret")
    clock[0] = LIFETIME_SECONDS
    assert not cache.has(b"hash", "secret")


def test_memory_of_credentials_is_bounded_and_can_be_dropped():
    cache = CredentialCache(lambda: 0.0)
    for number in range(ENTRIES_MAX + 1):
        cache.add(b"hash", str(number))
    assert not cache.has(b"hash", "0")
    assert cache.has(b"hash", "1")
    cache.clear()
    assert not cache.has(b"hash", "1")


def test_memory_of_credentials_holds_no_password():
    cache = CredentialCache(lambda: 0.0)
    cache.add(b"hash", "hunter2")
    assert "hunter2" not in repr(vars(cache))


async def test_event_loop_runs_during_bcrypt(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", rounds=10, alice="secret")
    async with opened(path) as authenticator:
        verifying = asyncio.create_task(is_let_in(authenticator, "alice", "secret"))
        turns = 0
        while not verifying.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10
        assert verifying.result()


async def test_flood_of_passwords_is_refused(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", rounds=8, alice="secret")
    # Long settled, or each attempt would first read the file again.
    os.utime(path, (1, 1))
    async with opened(path) as authenticator:
        attempts = [
            asyncio.create_task(is_let_in(authenticator, "alice", str(number))) for number in range(WAITING_MAX + 5)
        ]
        await asyncio.wait(attempts)
    refused = [attempt for attempt in attempts if isinstance(attempt.exception(), TooManyRequestsError)]
    assert len(refused) == 5


async def test_unknown_user_takes_as_long_as_a_known_one(tmp_path):
    """By medians of interleaved measurements, within a factor that a missing bcrypt would exceed a hundredfold."""
    path = write_htpasswd(tmp_path / "htpasswd", rounds=8, alice="secret")
    seconds: dict[str, list[float]] = {"alice": [], "nobody": []}
    async with opened(path) as authenticator:
        for number in range(9):
            for name, taken in seconds.items():
                began = time.process_time()
                assert not await is_let_in(authenticator, name, f"wrong {number}")
                taken.append(time.process_time() - began)
    known, unknown = (statistics.median(taken) for taken in seconds.values())
    assert 1 / 3 < unknown / known < 3


async def test_remembered_password_costs_no_bcrypt(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", rounds=10, alice="secret")
    seconds = []
    async with opened(path) as authenticator:
        for _ in range(5):
            began = time.process_time()
            assert await is_let_in(authenticator, "alice", "secret")
            seconds.append(time.process_time() - began)
    assert statistics.median(seconds[1:]) < seconds[0] / 10

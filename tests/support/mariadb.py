"""A private MariaDB for the tests: own data folder, own port, killed and started again at will.

Debian's `mariadb-server` gives the programs; nothing of the machine's own server is touched.
"""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pymysql

_START_SECONDS_MAX: Final = 60.0
_POLL_SECONDS: Final = 0.05
_ADMIN: Final = "root"
_PASSWORD: Final = "p@ss:w/rd?ü"
"""Holds all that a DSN is hard to read for; tests look for it in logs and errors."""

SEED_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS repositories (name VARCHAR(1024) NOT NULL PRIMARY KEY,"
    " createTime BIGINT(20) NOT NULL DEFAULT 0)"
    " ENGINE=InnoDB DEFAULT CHARACTER SET utf8 COLLATE utf8_general_ci"
)
"""The statement of the project we replace; DomeOS has tables made by it."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """One empty database of a server, and the user who may do everything in it."""

    name: str
    user: str
    password: str
    server: "MariaDbServer" = field(repr=False)

    @property
    def dsn(self) -> str:
        """Its address, as `SEARCH_BACKEND_MYSQL` takes it."""
        return f"{self.user}:{self.password}@tcp(127.0.0.1:{self.server.port})/{self.name}"

    @property
    def socket_dsn(self) -> str:
        """The same through the socket file."""
        return f"{self.user}:{self.password}@unix({self.server.socket})/{self.name}"

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run one statement in it as the administrator, and return the rows."""
        return self.server.sql(statement, *values, database=self.name)


class MariaDbServer:
    """A server process; `start`, `kill` and `stop` may follow each other, the data stays until `remove`."""

    def __init__(self, *, server: str, installer: str, options: Sequence[str] = ()) -> None:
        self._options = options
        self._server = server
        self._installer = installer
        # Not pytest's tmp_path: the path of a socket has at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.socket = self._folder / "sock"

    def install(self) -> None:
        """Make the system tables."""
        subprocess.run(
            [
                self._installer,
                "--no-defaults",
                f"--datadir={self._folder / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *self._user_option(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )

    def start(self) -> None:
        """Start the process and return when it answers."""
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    self._server,
                    "--no-defaults",
                    f"--datadir={self._folder / 'data'}",
                    f"--socket={self.socket}",
                    f"--pid-file={self._folder / 'pid'}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    "--skip-name-resolve",
                    "--innodb-buffer-pool-size=64M",
                    "--innodb-log-file-size=32M",
                    *self._user_option(),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_answers()

    def ensure_running(self) -> None:
        """Start it if a test ended it."""
        if self._process is None:
            self.start()

    def kill(self) -> None:
        """End it by SIGKILL, as the kernel does when memory runs out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, for example SIGSTOP, to let it accept connections and answer nothing."""
        if self._process is None:
            raise RuntimeError("not running")
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """Kill it and remove its data."""
        self.kill()
        shutil.rmtree(self._folder)

    def sql(self, statement: str, *values: object, database: str | None = None) -> list[tuple[object, ...]]:
        """Run one statement as the administrator, and return the rows."""
        connection = pymysql.connect(
            unix_socket=str(self.socket), user=_ADMIN, database=database, autocommit=True, connect_timeout=5
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def create_database(self) -> Database:
        """Make an empty database, and a user of the same name who has all rights in it."""
        name = f"registry_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name} CHARACTER SET utf8 COLLATE utf8_general_ci")
        self.sql(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", _PASSWORD)
        self.sql(f"GRANT ALL ON {name}.* TO {name}@'%'")
        return Database(name=name, user=name, password=_PASSWORD, server=self)

    def create_user(self, database: Database, name: str, rights: str) -> Database:
        """Return `database` as another user sees it, who has only these rights in it."""
        self.sql(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", _PASSWORD)
        self.sql(f"GRANT {rights} ON {database.name}.* TO {name}@'%'")
        return Database(name=database.name, user=name, password=_PASSWORD, server=self)

    def _user_option(self) -> list[str]:
        # The server refuses to run as root without being told to.
        return ["--user=root"] if os.geteuid() == 0 else []

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                # By hand: pymysql leaves its socket open when nobody listens.
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.socket))
                self.sql("SELECT 1")
            except (OSError, pymysql.err.OperationalError):
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"MariaDB does not start:\n{log[-4000:]}") from None
                time.sleep(_POLL_SECONDS)
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

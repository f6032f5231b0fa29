"""Private MariaDB server for tests, with its own data folder and port, which can be killed and restarted.

The programs come from Debian's `mariadb-server`; the machine's own server is not affected.
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
from typing import Any, Final

import pymysql

from tests.support.ports import free_port

_START_SECONDS_MAX: Final = 60.0
_POLL_SECONDS: Final = 0.05
_ADMIN: Final = "root"
_PASSWORD: Final = "p@ss:w/rd?ü"
"""Contains the characters that are hard to parse in a DSN; tests search logs and errors for it."""

SEED_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS repositories (name VARCHAR(1024) NOT NULL PRIMARY KEY,"
    " createTime BIGINT(20) NOT NULL DEFAULT 0)"
    " ENGINE=InnoDB DEFAULT CHARACTER SET utf8 COLLATE utf8_general_ci"
)
"""The statement of the project that this registry replaces; DomeOS has tables created by it."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """An empty database of a server, and a user with all rights in it."""

    name: str
    user: str
    password: str
    server: "MariaDbServer" = field(repr=False)

    @property
    def dsn(self) -> str:
        """DSN of the database, as in `SEARCH_BACKEND_MYSQL`."""
        return f"{self.user}:{self.password}@tcp(127.0.0.1:{self.server.port})/{self.name}"

    @property
    def socket_dsn(self) -> str:
        """DSN of the database that uses the socket file."""
        return f"{self.user}:{self.password}@unix({self.server.socket})/{self.name}"

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement in the database as the administrator, and return the rows."""
        return self.server.sql(statement, *values, database=self.name)

    def end_connections(self) -> None:
        """End all connections of the user, however many there still are."""
        self.server.sql(f"KILL CONNECTION USER {self.user}")


class MariaDbServer:
    """Server process; `start`, `kill` and `stop` can be called repeatedly, and the data stays until `remove`."""

    def __init__(self, *, server: str, installer: str, options: Sequence[str] = ()) -> None:
        self._options = options
        self._server = server
        self._installer = installer
        # Not pytest's tmp_path: the path of a socket has at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.socket = self._folder / "sock"
        # A server that starts removes the temporary tables of all servers with the same folder.
        self._temporary = self._folder / "tmp"

    def install(self) -> None:
        """Create the system tables."""
        self._temporary.mkdir()
        installed = subprocess.run(
            [
                self._installer,
                "--no-defaults",
                f"--datadir={self._folder / 'data'}",
                f"--tmpdir={self._temporary}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *self._user_option(),
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        assert installed.returncode == 0, installed.stdout.decode(errors="replace")

    def start(self) -> None:
        """Start the process and return when it accepts connections."""
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    self._server,
                    "--no-defaults",
                    f"--datadir={self._folder / 'data'}",
                    f"--socket={self.socket}",
                    f"--tmpdir={self._temporary}",
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
        """Start the server if a test ended it."""
        if self._process is None:
            self.start()

    def kill(self) -> None:
        """End the server by SIGKILL, as the kernel does when memory runs out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send the server a signal; after SIGSTOP, for example, it accepts connections and answers nothing."""
        if self._process is None:
            raise RuntimeError("not running")
        self._process.send_signal(number)

    def stop(self) -> None:
        """Shut the server down cleanly."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """Kill the server and remove its data."""
        self.kill()
        shutil.rmtree(self._folder)

    def sql(self, statement: str, *values: object, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator, and return the rows."""
        # By default pymysql reads all certificates of the system for each connection, which takes 20 ms.
        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user=_ADMIN,
            database=database,
            autocommit=True,
            connect_timeout=5,
            ssl_disabled=True,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def create_database(self) -> Database:
        """Create an empty database, and a user of the same name with all rights in it."""
        name = f"registry_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name} CHARACTER SET utf8 COLLATE utf8_general_ci")
        self.sql(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", _PASSWORD)
        self.sql(f"GRANT ALL ON {name}.* TO {name}@'%'")
        return Database(name=name, user=name, password=_PASSWORD, server=self)

    def create_user(self, database: Database, name: str, rights: str) -> Database:
        """Create a user with only these rights in `database`; return the database as that user accesses it."""
        self.sql(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", _PASSWORD)
        self.sql(f"GRANT {rights} ON {database.name}.* TO {name}@'%'")
        return Database(name=database.name, user=name, password=_PASSWORD, server=self)

    def _user_option(self) -> list[str]:
        # As root, the server refuses to run without this option.
        return ["--user=root"] if os.geteuid() == 0 else []

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                # Probe the socket first: pymysql leaves its own socket open if the connection is refused.
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

"""The time that a bcrypt cost of 12 adds to requests: `python -m tests.benchmarks.password_cost`, a table as Markdown.

A real server with users in a file, one connection; the first request verifies the password, the later ones remember
it. Beside it the same server without authentication, and one on which each request brings another wrong password.
"""

import http.client
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.htpasswd import basic, write_htpasswd
from tests.support.processes import RegistryServer

COST = 12
LATER = 200
WRONG = 10


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name:
        folder = Path(name)
        users = write_htpasswd(folder / "htpasswd", rounds=COST, alice="secret")
        # Settled: a file that was changed a moment ago is read again with each request.
        time.sleep(3)
        auth = {"htpasswd": {"realm": "r", "path": str(users)}}
        for title, config, passwords in (
            ("no authentication", {}, ["secret"] * (LATER + 1)),
            (f"bcrypt, cost {COST}", {"auth": auth}, ["secret"] * (LATER + 1)),
            (f"bcrypt, cost {COST}, wrong", {"auth": auth}, [f"wrong {number}" for number in range(WRONG)]),
        ):
            server = RegistryServer(folder / title[:9], folder / "storage", config={"http": {"workers": 1}, **config})
            with server:
                first, *later = _milliseconds(server.port, passwords)
            print(f"| {title} | {first:.1f} ms | {statistics.median(later):.2f} ms |")


def _milliseconds(port: int, passwords: list[str]) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken = []
    # One without credentials first, so that connecting is not measured.
    for password in [None, *passwords]:
        headers = {"Authorization": basic("alice", password)} if password else {}
        began = time.perf_counter()
        connection.request("GET", "/v2/", headers=headers)
        connection.getresponse().read()
        taken.append(1000 * (time.perf_counter() - began))
    connection.close()
    return taken[1:]


if __name__ == "__main__":
    main()

"""`python -m tests.support.scs_server`: the endpoint as a process, for tests with real clients."""

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path

from tests.support.scs_server.faults import Faults
from tests.support.scs_server.server import FakeScsServer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bucket", action="append", default=[])
    parser.add_argument("--access-key", default="AKTEST")
    parser.add_argument("--secret-key", default="SKTEST")
    parser.add_argument("--folder", type=Path, help="where contents over a MiB lie")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="share of requests that go wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", action="store_true", help="print each request")
    return parser.parse_args()


async def _main() -> None:
    arguments = _arguments()
    server = FakeScsServer(
        buckets=tuple(arguments.bucket) or ("images",),
        keys={arguments.access_key: arguments.secret_key},
        faults=Faults(seed=arguments.seed, rate=arguments.fault_rate),
        folder=arguments.folder,
        port=arguments.port,
    )
    if arguments.log:
        server.on_log = lambda entry: print(entry, flush=True)
    async with server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())

"""The application over in-memory adapters, as a client on a socket sees it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientSession, web
from pytest_aiohttp import AiohttpClient, AiohttpServer

from adapters.audit_log.stream import DisabledAuditLog
from adapters.auth.open import OpenAuthenticator
from adapters.catalog_index.memory import InMemoryCatalogIndex
from config.settings import Settings
from core.access_keys.service import AccessKeys
from core.collection.listing import Lister
from core.coordination import job_names
from core.coordination.budget import Budget, Rates
from core.coordination.lease import Lease
from core.coordination.paced_store import PacedStore
from core.coordination.read_only import ReadOnlySwitch
from core.coordination.schedule import SharedSchedule
from core.external_users.sign_in import ExternalSignIn
from core.model.access import OPEN, AccessPolicy
from core.model.digest import Digest
from core.notifications.outbox import Outbox
from core.ports.audit_log import AuditLog
from core.ports.authenticator import Authenticator
from core.pull_through.origins import LOCAL_ONLY, Origins
from core.registry.facade import Registry
from core.store import layout
from core.store.clock import StoreClock
from core.store.links import Links
from core.usage.measuring import MeterContext, UsageMeter
from core.usage.records import UsageRecords
from core.verification.journal import Journal
from entrypoints.http.app import create_app
from entrypoints.http.middleware.acme import Challenges
from entrypoints.http.observation import Observation
from entrypoints.http.operations import Operations
from entrypoints.jobs.background import Job
from entrypoints.jobs.on_demand import JobControl
from entrypoints.jobs.usage import usage_work
from entrypoints.web.lazy import LazySite
from tests.support.core_services import CoreServices
from tests.support.guarded_server import GuardedServer, run_guarded

SECRET = b"a secret that all replicas share"


def build_registry(services: CoreServices) -> Registry:
    return services.registry(InMemoryCatalogIndex())


@dataclass
class Api:
    """A client of one server, with the few calls that most tests begin with."""

    session: ClientSession
    services: CoreServices
    root: str

    def request(self, method: str, path: str, **options: Any) -> Any:
        url = path if "://" in path else self.root + path
        return self.session.request(method, url, allow_redirects=False, **options)

    async def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        async with self.request("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data=content) as response:
            assert response.status == 201, await response.text()
        return digest

    async def push_manifest(self, name: str, reference: str, content: bytes, media_type: str) -> None:
        headers = {"Content-Type": media_type}
        async with self.request(
            "PUT", f"/v2/{name}/manifests/{reference}", data=BytesIO(content), headers=headers
        ) as response:
            assert response.status == 201, await response.text()


def usage_control(services: CoreServices) -> JobControl:
    storage = services.storage
    store = PacedStore(storage, Budget(Rates(), clock=time.monotonic, sleep=asyncio.sleep))

    def new_meter() -> UsageMeter:
        return UsageMeter(
            store,
            Lister(store, Links(storage)),
            trash=services.trash,
            store_clock=StoreClock(storage),
            context=MeterContext(clock=time.monotonic, sleep=asyncio.sleep, salt=1),
        )

    lease = Lease(
        storage,
        layout.lease(job_names.USAGE),
        owner_id=lambda: "test",
        ttl=12,
        clock=time.monotonic,
        sleep=asyncio.sleep,
    )
    schedule = SharedSchedule(storage, lease, key=layout.job(job_names.USAGE), interval=timedelta(hours=1))
    work = usage_work(new_meter, schedule, UsageRecords(storage))
    return JobControl(storage, schedule, work, job=job_names.USAGE, name="measurement", interval=None, is_upkeep=False)


Work = Callable[[], Awaitable[Mapping[str, object]]]


async def no_work() -> Mapping[str, object]:
    return {"blobs_removed": 0}


def job_control(
    services: CoreServices,
    job: str,
    work: Work = no_work,
    *,
    owner: str = "test",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    is_upkeep: bool = True,
) -> JobControl:
    lease = Lease(services.storage, layout.lease(job), owner_id=lambda: owner, ttl=12, clock=clock, sleep=sleep)
    interval = timedelta(hours=1)
    return JobControl(
        services.storage,
        SharedSchedule(services.storage, lease, key=layout.job(job), interval=interval),
        work,
        job=job,
        name=job,
        interval=interval,
        is_upkeep=is_upkeep,
        sleep=sleep,
    )


def operations_on(
    services: CoreServices, access_keys: AccessKeys | None = None, external: ExternalSignIn | None = None
) -> Operations:
    read_only = ReadOnlySwitch(services.storage, clock=time.monotonic, now=lambda: datetime.now(UTC))
    return Operations(
        storage=services.storage,
        read_only=read_only,
        usage=usage_control(services),
        usage_records=UsageRecords(services.storage),
        outbox=Outbox(services.storage, process=lambda: "test", now=lambda: datetime.now(UTC)),
        endpoint_names=lambda: frozenset({"configured"}),
        collection=job_control(services, "collection"),
        verification=job_control(services, "verification", is_upkeep=False),
        access_keys=access_keys,
        findings=Journal(services.storage, "test"),
        external_sign_in=external,
    )


def open_app(
    services: CoreServices,
    settings: Settings,
    origins: Origins = LOCAL_ONLY,
    *,
    challenges: Challenges | None = None,
    observation: Observation | None = None,
) -> web.Application:
    """The application without access control."""
    authenticator = OpenAuthenticator()
    return create_app(
        build_registry(services),
        settings,
        authenticator=authenticator,
        policy=OPEN,
        upload_secret=SECRET,
        now=lambda: datetime.now(UTC),
        audit_log=DisabledAuditLog(),
        operations=operations_on(services),
        lifetimes=[authenticator],
        origins=origins,
        challenges=challenges,
        observation=observation,
    )


@pytest.fixture
def services() -> CoreServices:
    return CoreServices()


@pytest.fixture
def start(services: CoreServices, aiohttp_server: AiohttpServer, aiohttp_client: AiohttpClient):
    """Start servers with settings of the test's choice, over one storage."""

    async def start_one(
        settings: Settings | None = None,
        *,
        path: str = "",
        secret: bytes = SECRET,
        authenticator: Authenticator | None = None,
        policy: AccessPolicy = OPEN,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        audit_log: AuditLog | None = None,
        observation: Observation | None = None,
        jobs: Sequence[Job] = (),
        origins: Origins = LOCAL_ONLY,
        operations: Operations | None = None,
    ) -> Api:
        authenticator = authenticator or OpenAuthenticator()
        app = create_app(
            build_registry(services),
            settings or Settings(),
            authenticator=authenticator,
            policy=policy,
            upload_secret=secret,
            now=now,
            audit_log=audit_log or DisabledAuditLog(),
            operations=operations or operations_on(services),
            lifetimes=[authenticator],
            observation=observation,
            jobs=jobs,
            origins=origins,
            new_site=LazySite,
        )
        client: Any = await aiohttp_client(await aiohttp_server(app, auto_decompress=False))
        return Api(session=client.session, services=services, root=str(client.make_url("/")).rstrip("/") + path)

    return start_one


@pytest.fixture
async def api(start: Callable[..., Any]) -> Api:
    return await start()


async def error_codes(response: Any) -> list[str]:
    assert response.content_type == "application/json"
    return [entry["code"] for entry in (await response.json())["errors"]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses `guarded` with `http.fastpath` on and off, unless it is marked `fastpath_only`."""
    if "fastpath" in metafunc.fixturenames:
        is_restricted = metafunc.definition.get_closest_marker("fastpath_only") is not None
        values = {"fastpath": True} if is_restricted else {"fastpath": True, "plain": False}
        metafunc.parametrize("fastpath", list(values.values()), ids=list(values))


@pytest.fixture
async def guarded(services, fastpath):
    """Start servers as production runs them, on raw sockets."""
    async with AsyncExitStack() as stack:

        async def start_one(
            settings: Settings | None = None,
            *,
            origins: Origins = LOCAL_ONLY,
            challenges: Challenges | None = None,
            observation: Observation | None = None,
            **options: Any,
        ) -> GuardedServer:
            settings = settings or Settings()
            settings = replace(settings, http=replace(settings.http, fastpath=fastpath))
            app = open_app(services, settings, origins, challenges=challenges, observation=observation)
            return await stack.enter_async_context(run_guarded(app, settings, **options))

        yield start_one

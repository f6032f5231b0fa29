"""Construction of a measurement of storage use, shared by the command and the server."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from core.collection.listing import Lister
from core.collection.report import CollectionObserver, CollectionReport, ignore
from core.collection.run import CollectionOptions
from core.coordination.budget import Budget, Rates
from core.coordination.paced_store import PacedStore
from entrypoints.collection_run import new_collector

if TYPE_CHECKING:
    from config.container import RegistryApplication
    from core.usage.measuring import UsageMeter

_SALT_BITS: Final = 63


def new_meter(
    application: "RegistryApplication",
    options: CollectionOptions | None,
    *,
    rates: Rates,
    observe: CollectionObserver = ignore,
    goes_on: Callable[[], bool] = lambda: True,
) -> "UsageMeter":
    """Return the meter of an application, which is open.

    Args:
        application: the registry.
        options: options of the collection whose effect is computed; None to skip this.
        rates: limits on requests to the store and on bytes read.
        observe: called with the progress of the collection.
        goes_on: called regularly; False ends the collection early.
    """
    from core.usage.measuring import MeterContext, UsageMeter  # noqa: PLC0415 - as in `new_collector`

    async def plan(dry: CollectionOptions) -> CollectionReport:
        return await new_collector(application, dry, rates=rates, observe=observe, goes_on=goes_on).run()

    store = PacedStore(application.storage, Budget(rates, clock=time.monotonic, sleep=asyncio.sleep))
    return UsageMeter(
        store,
        Lister(store, application.links),
        trash=application.trash,
        store_clock=application.store_clock,
        context=MeterContext(
            clock=time.monotonic,
            sleep=asyncio.sleep,
            salt=secrets.randbits(_SALT_BITS) | 1,
            is_cached=application.origins.is_cached,
            options=options,
            plan=plan,
        ),
    )

"""Jobs for certificates from an ACME server: every process looks for new ones, the first process orders them."""

from collections.abc import Callable
from typing import Final

from core.certificates.service import Certificates, ObserveOrder
from entrypoints.jobs.background import Job

LOOK_SECONDS: Final = 1.0
"""Interval at which a process checks, in memory, whether a certificate is due."""


def certificate_job(
    certificates: Certificates, *, orders: bool, is_serving: Callable[[], bool], observe: ObserveOrder
) -> Job:
    """Return the job of one process.

    The job runs in read-only mode too: a registry without a valid certificate serves no pulls.

    Args:
        certificates: the service.
        orders: whether this process orders certificates.
        is_serving: whether the process can answer challenges yet.
        observe: receives the outcome of each order.
    """

    async def run() -> None:
        await certificates.refresh()
        if orders and is_serving():
            await certificates.order_due(observe)

    return Job(name="certificates", run=run, every=LOOK_SECONDS)

"""Checks of Redis: connection, authentication and response."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final

from config.settings import RedisOptions
from core.diagnosis import Diagnosis
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok

_REMEDY: Final = "check redis.addrs, the firewall, and that Redis runs; without Redis the registry is only slower"


async def check_redis(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Authenticate and ping each configured address."""
    settings = doctor.loaded.settings.redis
    if settings is not None:
        for address, (host, port) in zip(settings.addrs, settings.servers, strict=True):
            yield await _ping(f"redis: {address}", host, port, settings)


async def _ping(check: str, host: str, port: int, settings: RedisOptions) -> Diagnosis:
    try:
        async with asyncio.timeout(settings.dial_timeout_seconds):
            answer = await _talk(host, port, settings)
    except (OSError, TimeoutError, ValueError) as error:
        return failure(check, f"cannot be reached: {str(error) or type(error).__name__}", _REMEDY)
    if answer.startswith("+PONG"):
        return ok(check)
    if answer.startswith(("-NOAUTH", "-WRONGPASS", "-ERR AUTH", "-ERR invalid")):
        return failure(check, "Redis rejects the user and password", "check redis.username and redis.password")
    return failure(check, f"unexpected reply {answer.partition(' ')[0].strip()!r}", _REMEDY)


async def _talk(host: str, port: int, settings: RedisOptions) -> str:
    """Return the reply to PING, or the first error."""
    context = None
    if settings.tls.is_used:
        context = ssl.create_default_context()
        for file in settings.tls.root_cas:
            context.load_verify_locations(cafile=file)
        if settings.tls.certificate:
            context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        if settings.password is not None:
            user = [settings.username] if settings.username else []
            writer.write(_command("AUTH", *user, settings.password.reveal()))
            answer = (await reader.readline()).decode("utf-8", "replace")
            if not answer.startswith("+"):
                return answer
        writer.write(_command("PING"))
        return (await reader.readline()).decode("utf-8", "replace")
    finally:
        writer.transport.abort()


def _command(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)

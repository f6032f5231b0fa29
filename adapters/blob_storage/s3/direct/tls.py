"""How TLS is spoken to a store."""

import ssl
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_BUNDLE = "cacert.pem"


@cache
def verifying_context(authorities: str | None) -> ssl.SSLContext:
    """Return the context that verifies a store by these authorities; the processes of a server share it (2.5 MiB).

    Args:
        authorities: file of certificates; None for those that botocore ships, or without them those of the system.

    Raises:
        OSError: the file cannot be read, or contains no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_COMPRESSION
    file = authorities or _shipped_authorities()
    if file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(file)
    return context


def unverifying_context() -> ssl.SSLContext:
    """Return a context that accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shipped_authorities() -> str | None:
    """Return the file of authorities in botocore's package, which is found without an import of it."""
    spec = find_spec("botocore")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((str(file) for folder in folders if (file := Path(folder) / _BUNDLE).is_file()), None)

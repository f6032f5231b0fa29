"""botocore's definitions of S3, read once and shared by the processes of a server.

As Python objects they take 11 MB, of which the endpoints of 400 other services take 7. Those are dropped before the
processes fork.
"""

import json
from functools import cache
from importlib import import_module
from typing import Any, Final

from aiobotocore.session import get_session
from botocore.loaders import Loader, create_loader

from adapters.blob_storage.s3.direct.tls import verifying_context

_SERVICES: Final = frozenset({"s3", "sts", "portal.sso", "oidc", "signin"})
"""S3, and the services from which the AWS credential chain gets credentials."""


def preload_definitions() -> None:
    """Load the definitions that the clients of this process and of its forks share."""
    loader = definitions(get_session().get_config_variable("data_path"))
    _drop_other_services(loader.load_data("endpoints"))
    for name in ("partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    for name in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("s3", name, api_version=None)
    # aioboto3 imports its additions to the client, and the modules below them, when it creates the first one.
    import_module("aioboto3.s3.inject")
    verifying_context(None)


@cache
def definitions(data_path: str | None) -> Loader:
    """Return botocore's loader, which keeps the files that it has read."""
    return create_loader(data_path)


def _drop_other_services(endpoints: dict[str, Any]) -> None:
    """Drop the endpoints of services that are not used; botocore composes the names of unlisted ones from a pattern."""
    kept = {
        **endpoints,
        "partitions": [
            {
                **partition,
                "services": {name: partition["services"][name] for name in partition["services"] if name in _SERVICES},
            }
            for partition in endpoints["partitions"]
        ],
    }
    # Copies in other memory, so that the memory of all else is returned to the system.
    copied = json.loads(json.dumps(kept))
    endpoints.clear()
    endpoints.update(copied)

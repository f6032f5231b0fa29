"""Registries that are reached over the network, as the source or the target of a copy."""

from adapters.upstream.options import UpstreamOptions
from config.errors import ConfigError
from config.loader import RemoteAccess
from core.ports.registry_target import RegistryTarget
from core.ports.upstream import Upstream


def open_upstream(root: str, host: str, access: RemoteAccess) -> Upstream:
    """Return a registry to read from.

    Raises:
        ConfigError: a file that `access` names cannot be used.
    """
    # Imported only when needed, like the rest of the web client: it takes time and memory.
    from adapters.upstream.http import HttpUpstream  # noqa: PLC0415

    try:
        return HttpUpstream(host, _options(root, access))
    except ValueError as error:
        raise ConfigError([f"{host}: {error}"]) from None


def open_target(root: str, host: str, access: RemoteAccess, *, transfer_id: str | None) -> RegistryTarget:
    """Return a registry to write to.

    Args:
        root: the URL of the registry.
        host: its name for errors.
        access: the credentials.
        transfer_id: the name of the copy, under which unfinished uploads are remembered; None to forget them.

    Raises:
        ConfigError: a file that `access` names cannot be used.
    """
    from adapters.registry_target.http import HttpRegistryTarget  # noqa: PLC0415 - as in `open_upstream`
    from adapters.registry_target.sending import Sender  # noqa: PLC0415
    from adapters.registry_target.uploads import UnfinishedUploads  # noqa: PLC0415

    path = None if transfer_id is None else access.state_folder / f"copy-{transfer_id}.json"
    try:
        sender = Sender(host, _options(root, access))
    except ValueError as error:
        raise ConfigError([f"{host}: {error}"]) from None
    return HttpRegistryTarget(host, sender, uploads=UnfinishedUploads(path))


def _options(root: str, access: RemoteAccess) -> UpstreamOptions:
    return UpstreamOptions(
        urls=(root,),
        username=access.username,
        password=access.password,
        docker_config=access.docker_config,
        ca=access.ca,
    )

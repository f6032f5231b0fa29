"""Construction of the application objects, each from a container of its own."""

from functools import partial

from config.container.applications import (
    Observers,
    RegistryApplication,
    ServerApplication,
    ServerParts,
    StoreApplication,
)
from config.container.graph import Container
from config.settings import Settings
from core.ports.audit_log import AuditLog


def build_store(settings: Settings) -> StoreApplication:
    """Return the store of an existing registry."""
    return Container(settings=settings, makes_store=False).store_application()


def build_registry(settings: Settings, *, makes_store: bool = False) -> RegistryApplication:
    """Return a registry for a command.

    Args:
        settings: the configuration.
        makes_store: whether opening creates a missing store; commands that only inspect a store create nothing.

    Raises:
        ConfigError: a value or a file that the settings name is invalid.
    """
    return Container(settings=settings, makes_store=makes_store).registry_application()


def build_audit_log(settings: Settings) -> AuditLog:
    """Return the audit log alone."""
    return Container(settings=settings).audit_log()


def build_server_parts(settings: Settings) -> ServerParts:
    """Return the parts that the processes of a server share.

    Raises:
        ConfigError: a value or a file that the settings name is invalid.
    """
    # A read-only registry may lie on a file system that is mounted read-only.
    container = Container(settings=settings, makes_store=not settings.storage.readonly_enabled)
    return container.server_parts(new_application=partial(_build_application, container))


def build_server(parts: ServerParts, observers: Observers) -> ServerApplication:
    """Return the registry for this process of a server, which uses the shared parts.

    Raises:
        ConfigError: see `build_registry`.
    """
    return parts.new_application(parts, observers)


def _build_application(container: Container, parts: ServerParts, observers: Observers) -> ServerApplication:
    # A new container would copy all providers, which takes longer than to forget what this one has built.
    container.reset_singletons()
    container.override_providers(
        observers=observers,
        shared_authenticator=parts.authenticator,
        access_policy=parts.policy,
        shared_secret=parts.upload_secret,
        audit_log=parts.audit_log,
        descriptor_marks=parts.descriptor_marks,
        untouched_sessions=parts.untouched_sessions,
        upload_use=parts.upload_use,
    )
    return container.server_application()

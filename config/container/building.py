"""Construction of the application objects, each from a container of its own."""

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
    return Container(settings=settings).server_parts()


def build_server(parts: ServerParts, observers: Observers) -> ServerApplication:
    """Return the registry for this process of a server, which uses the shared parts.

    Raises:
        ConfigError: see `build_registry`.
    """
    container = Container(
        settings=parts.settings,
        # A read-only registry may lie on a file system that is mounted read-only.
        makes_store=not parts.settings.storage.readonly_enabled,
        observers=observers,
        shared_authenticator=parts.authenticator,
        access_policy=parts.policy,
        shared_secret=parts.upload_secret,
        audit_log=parts.audit_log,
        descriptor_marks=parts.descriptor_marks,
        untouched_sessions=parts.untouched_sessions,
    )
    return container.server_application()

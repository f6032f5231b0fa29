"""Early checks of settings that only an adapter parses, before anything is built or opened."""

from config.container.storages import mysql_address
from config.settings import CatalogBackend, Settings


def check_settings(settings: Settings) -> None:
    """Parse the values whose format only an adapter defines. Opens no file and no connection.

    Raises:
        ConfigError: a value is invalid; the message contains no secret.
    """
    if settings.catalog.backend is CatalogBackend.MYSQL and settings.catalog.mysql_dsn is not None:
        mysql_address(settings.catalog.mysql_dsn)

"""What an adapter would be the first to read of the settings, read before anything is built or opened."""

from config.container.storages import mysql_address
from config.settings import CatalogBackend, Settings


def check_settings(settings: Settings) -> None:
    """Read the values whose form only an adapter knows. Opens no file and no connection.

    Raises:
        ConfigError: one cannot be read; the text shows no secret.
    """
    if settings.catalog.backend is CatalogBackend.MYSQL and settings.catalog.mysql_dsn is not None:
        mysql_address(settings.catalog.mysql_dsn)

"""The file of `auth.htpasswd`, for the commands that change it or read its names. It imports bcrypt."""

from adapters.auth.user_file import UserFile
from config.settings import Settings

__all__ = ["UserFile", "open_user_file"]


def open_user_file(settings: Settings) -> UserFile:
    """Return the file of `auth.htpasswd`, for changes."""
    return UserFile(settings.auth.htpasswd.path)

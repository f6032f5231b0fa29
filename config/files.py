"""Reading of a configuration's files: bounded, UTF-8, with messages that name the remedy."""

from pathlib import Path
from typing import Final

from config.errors import ConfigError
from config.tree import printable

_SECRET_BYTES_MAX: Final = 64 * 1024


def read_text_file(path: str, *, bytes_max: int) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, or is larger than `bytes_max`; the message shows only the
            path.
    """
    shown = printable(path, limit=400)
    try:
        with Path(path).open("rb") as file:
            content = file.read(bytes_max + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ConfigError([f"{shown}: cannot be read: {error.strerror or type(error).__name__}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{shown}: is not UTF-8 text"]) from None
    except ValueError:
        raise ConfigError([f"{shown}: is not a path"]) from None
    if len(content) > bytes_max:
        raise ConfigError([f"{shown}: is larger than {bytes_max} bytes"])
    return text


def read_secret_file(path: str) -> str:
    """Read a whole file with a secret.

    Raises:
        ConfigError: as for `read_text_file`.
    """
    return read_text_file(path, bytes_max=_SECRET_BYTES_MAX)

"""The identity of the running kernel, whose memory holds written bytes until they are on disk."""

import uuid
from typing import Final

_BOOT_ID_FILE: Final = "/proc/sys/kernel/random/boot_id"


def read_boot_id(path: str = _BOOT_ID_FILE) -> str:
    """Return a text that differs after each start of this machine, and between machines.

    Without the kernel's file the text is new on each call. Then no process trusts the bytes that another one staged.
    """
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip() or str(uuid.uuid4())
    except OSError:
        return str(uuid.uuid4())

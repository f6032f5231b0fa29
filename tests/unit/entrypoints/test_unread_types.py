"""The system's list of MIME types is left unread by imports, and read by the first call."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tools import REPOSITORY_ROOT

PROGRAM = """
import mimetypes, sys
mimetypes.knownfiles = [sys.argv[1]]
{before}
from entrypoints.start.unread_types import system_types_unread
with system_types_unread():
    from aiohttp.web_fileresponse import CONTENT_TYPES
print(CONTENT_TYPES.guess_type("a.odd")[0], CONTENT_TYPES.guess_type("a.json")[0], mimetypes.inited)
print(mimetypes.guess_type("a.odd")[0])
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", ["None", "application/json", "False", "text/x-odd"]),
        # Read by somebody else, the list stays as it is.
        ("mimetypes.init()", ["None", "application/json", "True", "text/x-odd"]),
    ],
)
def test_list_is_read_by_the_first_call(tmp_path: Path, before: str, expected: list[str]) -> None:
    types = tmp_path / "mime.types"
    types.write_text("text/x-odd odd\n")
    command = [sys.executable, "-c", PROGRAM.format(before=before), str(types)]
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == expected

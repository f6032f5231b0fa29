"""No registry starts with a sample value of `http.secret` from the documents and deployment files."""

import re
from pathlib import Path

import pytest

from config.settings.http import secret_problem
from tests.support.deployments import DEPLOY
from tests.support.tools import REPOSITORY_ROOT

_SAMPLE = re.compile(
    r"""(?:REGISTRY_HTTP_SECRET=|http-?secret[:=][ ]*)   # a variable, a Secret's key, a value of the chart
        (?:"([^"$]*)"|(<[^>]*>)|([^\s"{$,}…][^\s,}…]*))""",
    re.VERBOSE | re.IGNORECASE,
)
FILES = sorted(
    path
    for folder, pattern in ((REPOSITORY_ROOT, "README*"), (REPOSITORY_ROOT / "docs", "**/*.md"), (DEPLOY, "**/*"))
    for path in folder.glob(pattern)
    if path.is_file()
)


def samples_in(path: Path) -> list[str]:
    found = _SAMPLE.findall(path.read_text(encoding="utf-8"))
    return [text for groups in found for text in groups if text]


def test_samples_are_found():
    files = {path.relative_to(REPOSITORY_ROOT).as_posix() for path in FILES if samples_in(path)}
    assert files >= {"README.md", "README.zh-CN.md", "deploy/kubernetes/example/secrets.env"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY_ROOT).as_posix())
def test_samples_are_refused(path: Path):
    assert [sample for sample in samples_in(path) if secret_problem(sample) is None] == []

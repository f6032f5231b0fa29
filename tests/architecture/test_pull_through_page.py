"""The Chinese page about the pull-through cache shows the files of the English one, which real clients test."""

import re

from tests.support.tools import REPOSITORY_ROOT


def test_files_of_both_languages_agree() -> None:
    english, chinese = (
        (REPOSITORY_ROOT / "docs" / folder / "pull-through-cache.md").read_text() for folder in ("", "zh-CN")
    )
    blocks = re.findall(r"^```(?:json|toml)\n(.*?)^```", chinese, re.DOTALL | re.MULTILINE)

    assert blocks
    for block in blocks:
        assert block in english

"""The Chinese pages follow the English ones, and keep to one set of terms and one typography.

A failure names the page and the line. After a change of an English page, follow it in docs/zh-CN, or declare a new
section of it in `LEFT_OUT`.
"""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from tests.support.markdown import Block, Section, sections, without
from tests.support.tools import REPOSITORY_ROOT

DOCS = REPOSITORY_ROOT / "docs"
CHINESE = DOCS / "zh-CN"
README = REPOSITORY_ROOT / "README.zh-CN.md"
TRANSLATIONS = REPOSITORY_ROOT / "entrypoints" / "web" / "languages" / "zh"

ONLY_CHINESE = {"glossary.md", "networks-in-china.md"}
LEFT_OUT = {
    "configuration.md": {
        "Where it listens",
        "Browser pages",
        "Redirects to another server",
        "Limits",
        "The fast path",
        "Logs",
        "Keys / *",
    },
    "migration.md": {"A configuration file of distribution / Ignored"},
    "pull-through-cache.md": {"Behaviour / *"},
    "web-page.md": {"For developers"},
}
"""Sections of an English page that the Chinese page deliberately lacks; `NAME / *` is every section below NAME."""

OTHER_ENTRIES = {
    ("configuration.md", "Keys"),
    ("index.md", ""),
    ("pull-through-cache.md", ""),
    ("pull-through-cache.md", "Behaviour"),
}
"""Sections in which the Chinese page has other rows and list items, because it selects or adds some."""

HAN = r"[\u4e00-\u9fff]"
# Full-width marks: comma, full stop, semicolon, colon, exclamation, question, enumeration comma, parentheses.
CLOSING = r"\uff0c\u3002\uff1b\uff1a\uff01\uff1f\u3001\uff09"
OPENING = r"\uff08"
PLACEHOLDER = r"%\(\w+\)s"
FORBIDDEN = {
    "注册表": "镜像仓库服务",
    "注册中心": "镜像仓库服务",
    "注册服务器": "镜像仓库服务",
    "仓库服务器": "镜像仓库服务",
    "镜像仓库(?!服务)": "镜像仓库服务",
    "本仓库": "本服务, or 此仓库 for a repository",
    "上游仓库": "上游, or 上游的仓库 for a repository",
    "存储库": "仓库",
    "镜像库": "仓库",
    "镜像目录": "镜像列表",
    "文件夹": "目录",
    "镜像层|图层": "层",
    r"(?<![\w./`-])[Bb]lobs?(?![\w./`-])": "数据块",
    r"(?<![\w./`-])[Mm]anifests?(?![\w./`-])": "清单",
    "垃圾收集": "垃圾回收",
    "留存|保存策略": "保留策略",
    "废纸篓|垃圾箱|回收箱": "回收站",
    "直通缓存|透传缓存|代理缓存|穿透缓存": "拉取缓存",
    "引用方|推荐人": "引用者",
    "定时镜像": "定时同步",
}
"""Words that the glossary excludes, with the term in their place."""

TYPOGRAPHY = {
    r"[,;:!?](?=\s|$|[^\x00-\x7f])": "a half-width punctuation mark",
    rf"{HAN}[,.;:!?()]|[,.;:!?()]{HAN}": "a half-width punctuation mark at a Chinese character",
    r"[()]": "half-width parentheses",
    rf"{HAN}[A-Za-z0-9`]|[A-Za-z0-9`%]{HAN}": "no space between Chinese and Latin text",
    rf"\S +[{CLOSING}]|[{OPENING}{CLOSING}] +(?!\|)\S|{HAN} {HAN}": "a space too many",
}


def chinese_pages() -> list[Path]:
    return [README, *sorted(CHINESE.rglob("*.md"))]


def english_page(page: Path) -> Path:
    return REPOSITORY_ROOT / "README.md" if page == README else DOCS / page.relative_to(CHINESE)


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY_ROOT))


def pairs() -> list[Path]:
    return [page for page in chinese_pages() if page.name not in ONLY_CHINESE]


def expected_sections(page: Path) -> list[Section]:
    return without(sections(english_page(page)), LEFT_OUT.get(page.name, ()) if page != README else ())


def code(block: Block) -> str:
    """Return a block without its comments, and with equal placeholders for words.

    Of formulas and figures, whose words are translated, only the number of lines counts.
    """
    text = re.sub(r"(?m)(?:^|\s+)# .*$", "", block.text)
    text = re.sub(rf"<[^<>\n]*(?: |{HAN})[^<>\n]*>", "<…>", text)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return f"{len(lines)} lines" if block.language in {"text", "mermaid"} else "\n".join(lines)


def entries(section: Section) -> tuple[int, int]:
    """Return the number of the rows of tables and of the list items."""
    rows = sum(line.startswith("|") for line in section.prose)
    return rows, sum(bool(re.match(r"[-*] |\d+\. ", line)) for line in section.prose)


def plain(line: str) -> str:
    """Return a line of prose with marks in place of code, and without addresses and emphasis."""
    line = re.sub(r"``.+?``|`[^`]*`", "``", line)
    line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
    line = re.sub(r"\w+://[\w./:-]+", "``", line)
    return line.replace("*", "").replace("\\|", "|")


def prose(page: Path) -> list[str]:
    headings = [section.path[-1] for section in sections(page) if section.path]
    return [plain(line) for line in [*headings, *(line for section in sections(page) for line in section.prose)]]


def translations() -> list[str]:
    texts = []
    for path in sorted(TRANSLATIONS.glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale="zh"):
                forms = [message.string] if isinstance(message.string, str) else message.string or ()
                texts += [f"{path.name}: {re.sub(PLACEHOLDER, '%', form)}" for form in forms if message.id]
    return texts


@pytest.mark.parametrize("page", pairs(), ids=name)
def test_page_has_the_sections_of_the_english_one(page: Path) -> None:
    assert english_page(page).exists(), f"{name(english_page(page))} is missing"
    english, chinese = expected_sections(page), sections(page)
    outline = [("#" * section.depth, section.name) for section in english]
    assert [section.depth for section in chinese] == [section.depth for section in english], outline
    latin = [
        (own.path[-1:], other.path[-1:]) for own, other in zip(chinese, english, strict=True) if own.name.isascii()
    ]
    assert [own for own, _ in latin] == [other for _, other in latin]


@pytest.mark.parametrize("page", pairs(), ids=name)
def test_commands_and_files_equal_the_english_ones(page: Path) -> None:
    for english, chinese in zip(expected_sections(page), sections(page), strict=False):
        place = f"{english.name} in {name(page)}"
        assert len(chinese.blocks) == len(english.blocks), place
        for original, block in zip(english.blocks, chinese.blocks, strict=True):
            assert code(replace(block, language=original.language)) == code(original), place


@pytest.mark.parametrize("page", pairs(), ids=name)
def test_tables_and_lists_have_the_entries_of_the_english_ones(page: Path) -> None:
    for english, chinese in zip(expected_sections(page), sections(page), strict=False):
        if (page.name, english.name) not in OTHER_ENTRIES:
            assert entries(chinese) == entries(english), f"{english.name} in {name(page)}"


@pytest.mark.parametrize("page", chinese_pages(), ids=name)
def test_terms_are_those_of_the_glossary(page: Path) -> None:
    wrong = [
        f"{found[0]} → {term}: {line}"
        for line in prose(page)
        for word, term in FORBIDDEN.items()
        for found in re.finditer(word, line)
        if page.name != "glossary.md" or re.search(HAN, found[0])
    ]
    assert wrong == []


@pytest.mark.parametrize("page", chinese_pages(), ids=name)
def test_typography(page: Path) -> None:
    wrong = [
        f"{fault}: …{line[max(found.start() - 12, 0) : found.end() + 12]}…"
        for line in prose(page)
        if re.search(HAN, line)
        for pattern, fault in TYPOGRAPHY.items()
        for found in re.finditer(pattern, line)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", chinese_pages(), ids=name)
def test_paragraphs_are_not_wrapped(page: Path) -> None:
    """A line end within a paragraph shows as a space between two Chinese characters."""
    begins = re.compile(r"\s*(?:[-*|>!=<#]|\d+\.|$)")
    lines = [pair for section in sections(page) for pair in pairwise(section.prose)]
    wrapped = [line for line, following in lines if line.strip() and not begins.match(following)]
    assert wrapped == []


@pytest.mark.parametrize("page", chinese_pages(), ids=name)
def test_emphasis_is_closed(page: Path) -> None:
    """CommonMark does not close `**` between a punctuation mark and a Chinese character."""
    mark = rf"[{CLOSING}{OPENING}`()]"
    open_end = re.compile(rf"{HAN}\*\*{mark}.*?\*\*|\*\*[^*]*{mark}\*\*{HAN}")
    lines = [line for section in sections(page) for line in section.prose]
    emphasis = [text for line in lines for text in re.findall(r".?\*\*.+?\*\*.?", line)]
    assert [text for text in emphasis if open_end.search(text)] == []


@pytest.mark.parametrize("page", chinese_pages(), ids=name)
def test_links_lead_to_chinese_pages(page: Path) -> None:
    """A link to an English page leads to a section of it, or to a page without a translation."""
    links = re.findall(r"\]\((?!\w+:)([^)#]+\.md)\)", page.read_text())
    targets = {link: (page.parent / link).resolve() for link in links}
    translated = {english_page(other): other for other in pairs()}
    assert [link for link, target in targets.items() if target in translated and target != english_page(page)] == []


@pytest.mark.parametrize("page", pairs(), ids=name)
def test_languages_lead_to_each_other(page: Path) -> None:
    links = [path.read_text().split("\n## ", 1)[0] for path in (page, english_page(page))]
    assert "[English](" in links[0]
    assert "[中文](" in links[1], f"add a link to {name(page)}"


def test_left_out_sections_exist() -> None:
    for page, left_out in LEFT_OUT.items():
        names = {section.name for section in sections(DOCS / page)}
        assert {entry.removesuffix(" / *") for entry in left_out} <= names, page


def test_web_page_uses_the_same_terms() -> None:
    wrong = [f"{text} → {term}" for text in translations() for word, term in FORBIDDEN.items() if re.search(word, text)]
    assert wrong == []
    assert [text for text in translations() if re.search(rf"{HAN}[,.;:!?()]|[,.;!?()]{HAN}", text)] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("镜像, 标签", "a half-width punctuation mark"),
        ("镜像:标签", "a half-width punctuation mark at a Chinese character"),
        ("镜像(标签)", "half-width parentheses"),
        ("使用API", "no space between Chinese and Latin text"),
        ("镜像 \uff0c标签", "a space too many"),
        ("使用 ``\uff0c然后用 HTTP/1.1 拉取 1,000 个", None),
    ],
)
def test_faults_of_typography_are_found(text: str, fault: str | None) -> None:
    found = {fault for pattern, fault in TYPOGRAPHY.items() if re.search(pattern, text)}
    assert fault in found if fault else not found


def test_differences_between_pages_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# T\n\n## A\n\n```sh\nrun <a word> # why\n```\n\n### B\n\n    run\n\n## C\n")
    found = sections(page)
    assert [(section.depth, section.name) for section in found] == [(1, ""), (2, "A"), (3, "A / B"), (2, "C")]
    assert [code(block) for section in found for block in section.blocks] == ["run <…>", "run"]
    assert [section.name for section in without(found, {"A / *"})] == ["", "A", "C"]
    assert [section.name for section in without(found, {"A"})] == ["", "C"]

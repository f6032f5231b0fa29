"""Every command, configuration, make target and variable in the documents exists in the code."""

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from config.loader import load
from config.schema.base import resolve_in
from config.schema.root import RootSchema
from config.settings import StorageKind
from config.variables import PATH_VARIABLE, Side
from entrypoints.commands import NAMES
from entrypoints.commands.program import make_parser
from tests.support.document_blocks import SHELL, Block, blocks, commands, inline_code, name_of, pages, registry_words
from tests.support.tools import REPOSITORY_ROOT

BLOCKS: Final = [block for page in pages() for block in blocks(page)]
TARGETS: Final = set(re.findall(r"^([a-z-]+):", (REPOSITORY_ROOT / "Makefile").read_text(), re.MULTILINE))
SECTIONS: Final = RootSchema.keys().keys()
FOLDER: Final = {"filesystem": {"rootdirectory": "/var/lib/registry"}}
S3: Final = {"s3": {"bucket": "images", "region": "eu-central-1"}}
# Variables of deploy/compose, of Kubernetes and of clients, and those of the remote sides of a copy, name no key.
OTHER_VARIABLES = {"REGISTRY_PORT", "REGISTRY_IMAGE", "REGISTRY_VERSION", "REGISTRY_SERVICE_HOST"}
OTHER_VARIABLES |= {"REGISTRY_TOKEN", PATH_VARIABLE}
REMOTE: Final = {f"{side.prefix}{name}" for side in Side for name in ("USERNAME", "PASSWORD", "PASSWORD_FILE")}


def documented_commands() -> Iterator[Any]:
    for block in BLOCKS:
        if block.language in SHELL:
            for command in commands(block):
                if (words := registry_words(command)) is not None:
                    yield pytest.param(words, id=f"{block.name} {' '.join(words)}")


@pytest.fixture(scope="module")
def parser():
    return make_parser(NAMES)


@pytest.mark.parametrize("words", list(documented_commands()))
def test_command_parses(parser, words: list[str], capsys) -> None:
    try:
        parser.parse_args(words)
    except SystemExit as end:
        assert not end.code, capsys.readouterr().err  # noqa: PT017  # `--help` and `--version` end with 0


def options_of(parser: ArgumentParser) -> set[str]:
    """Return the options of a parser and of its subcommands."""
    found: set[str] = set()
    for action in parser._actions:  # noqa: SLF001  # argparse lists its actions nowhere else
        found.update(action.option_strings)
        if isinstance(action.choices, dict):
            found.update(*map(options_of, action.choices.values()))
    return found


@pytest.fixture(scope="module")
def options(parser):
    [commands] = [action for action in parser._actions if isinstance(action.choices, dict)]  # noqa: SLF001
    return {name: options_of(subparser) for name, subparser in commands.choices.items()}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_options_in_the_text_exist(page, options) -> None:
    texts = [code for code in inline_code(page) if code.startswith("registry ")]
    texts += [line for block in blocks(page) if block.language == "text" for line in block.text.splitlines()]
    wrong = []
    for text in texts:
        command = re.match(r"registry ([a-z][a-z-]*)(?![\w./-])", text)
        used = set(re.findall(r"(?<![\w-])--[a-z-]+", text))
        if command and (command[1] not in options or not used <= options[command[1]]):
            wrong.append(text)
    assert wrong == []


def configuration_of(block: Block) -> dict[str, Any] | None:
    """Return the whole configuration that a block is a part of; None if the block is another file."""
    document = yaml.safe_load(block.text)
    if not isinstance(document, dict) or not document or not document.keys() <= SECTIONS:
        return None
    # Traefik and containerd have keys of the same names.
    if "routers" in document.get("http", {}) or isinstance(document.get("mirrors"), dict):
        return None
    if "groupfile" in document.get("access", {}):
        document = {"auth": {"htpasswd": {"realm": "registry", "path": "/etc/registry/htpasswd"}}, **document}
    return {"version": 0.1, "storage": {}, **document}


def configurations() -> Iterator[Any]:
    for block in BLOCKS:
        if block.language == "yaml" and (document := configuration_of(block)) is not None:
            yield pytest.param(document, id=block.name)


@pytest.mark.parametrize("document", list(configurations()))
def test_configuration_loads_without_a_warning(document: dict[str, Any], tmp_path) -> None:
    if not set(StorageKind) & document["storage"].keys():
        # Middleware of the storage is for object stores.
        document["storage"] = {**document["storage"], **(S3 if "middleware" in document else FOLDER)}
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(document))
    assert load(str(path), environ={"REGISTRY_HTTP_SECRET": "a secret of the environment"}).warnings == ()


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_make_targets_exist(page) -> None:
    lines = [line for block in blocks(page) if block.language in SHELL for line in commands(block)]
    lines += [code.split() for code in inline_code(page)]
    named = {line[1] for line in lines if line[0] == "make" and len(line) > 1 and line[1].islower()}
    assert named - TARGETS == set()


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_variables_name_a_key(page) -> None:
    named = set(re.findall(r"\bREGISTRY_[A-Z0-9_]*[A-Z0-9]\b(?![*_…])", page.read_text()))
    assert {name for name in named - OTHER_VARIABLES - REMOTE if not names_a_key(name)} == set()


def names_a_key(name: str) -> bool:
    """Whether a variable sets a key, or a section, of the registry or of one side of a copy."""
    words = re.sub("^REGISTRY_(?:(?:FROM|TO)_)?", "", name)
    spellings = (words, words.removesuffix("_FILE"))
    return any(resolve_in(RootSchema, spelling.split("_"), None) is not None for spelling in spellings)


def test_blocks_are_found() -> None:
    """The checks above must not pass because they find nothing."""
    assert len(list(documented_commands())) > 20
    assert len(list(configurations())) > 20

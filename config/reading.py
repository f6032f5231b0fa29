"""Reading of a configuration: defaults, the file and the environment become settings, or problems.

This module needs the schema, marshmallow and YAML. `config.loader` imports it with the first configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from marshmallow import ValidationError

from config.environment import apply_environment
from config.errors import ConfigError
from config.files import read_secret_file, read_text_file
from config.loaded import Loaded
from config.schema.root import RootSchema
from config.settings import Settings, StorageKind, find_idle_middlewares
from config.spellings import find_unknown, respell, widen_bare
from config.support import Severity, check_support
from config.tracing import read_tracing
from config.tree import DEFAULT_SOURCE, KeyPath, Scalar, Section, Source, dotted, find_node
from config.variables import AUTHORITIES_VARIABLE, variable_of
from config.yaml_tree import parse_document
from core.model.setting import MISSING_VALUE

_VARIABLES: Final = "environment variables"
"""The source of messages about a configuration without a file."""

_FILE_BYTES_MAX: Final = 512 * 1024


def read_configuration(path: str | None, environ: Mapping[str, str]) -> Loaded:
    """Read the file at `path`, if any, apply the environment, and return settings.

    Raises:
        ConfigError: the file cannot be read or a value is invalid; lists every problem found.
    """
    root, warnings = _read(path)
    widen_bare(root)
    findings = apply_environment(root, environ, read_file=read_secret_file)
    notes = findings.notes + respell(root)
    unknown = list(find_unknown(root))
    unsupported = check_support(root)
    problems = [
        *findings.problems,
        *(key.explain() for key in unknown if key.must_stop),
        *unsupported[Severity.REFUSE],
    ]
    settings = _build(root, path or _VARIABLES, problems)
    authorities = environ.get(AUTHORITIES_VARIABLE) or None
    settings = replace(settings, storage=replace(settings.storage, authorities=authorities))
    tracing, tracing_warnings = read_tracing(environ)
    return Loaded(
        settings=settings,
        path=path,
        warnings=(
            *warnings,
            *findings.warnings,
            *(key.explain() for key in unknown),
            *unsupported[Severity.WARN],
            *(f"{path or _VARIABLES}: {message}" for message in _find_idle(settings)),
            *tracing_warnings,
        ),
        notes=(*notes, *unsupported[Severity.NOTE]),
        root=root,
        tracing=tracing,
    )


def _read(path: str | None) -> tuple[Section, list[str]]:
    """Return the tree of the file and warnings about it; without a file, the smallest tree."""
    if path is not None:
        return parse_document(read_text_file(path, bytes_max=_FILE_BYTES_MAX), origin=path)
    version = Scalar(text="0.1", value=0.1, source=Source(origin=DEFAULT_SOURCE))
    return Section(Source(origin=_VARIABLES), {"version": version}), []


def _build(root: Section, path: str, problems: list[str]) -> Settings:
    """Return settings from the tree; raise its problems together with the given ones, if there are any."""
    try:
        settings = cast("Settings", RootSchema().load(root))
    except ValidationError as error:
        invalid = [_locate(root, path, key, message) for key, message in _flatten(error.messages)]
        raise ConfigError(dict.fromkeys([*problems, *invalid])) from None
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return settings


def _find_idle(settings: Settings) -> list[str]:
    storage = settings.storage
    return find_idle_middlewares(
        settings.middleware, is_s3=storage.kind is StorageKind.S3, redirects=not storage.redirect_disabled
    )


def _flatten(messages: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield marshmallow's nested messages one by one, each with its key."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _flatten(inner, key if name == "_schema" else (*key, name))
    elif isinstance(messages, list):
        for inner in messages:
            yield from _flatten(inner, key)
    else:
        yield key, str(messages)


def _locate(root: Section, path: str, key: KeyPath, message: str) -> str:
    """Return one problem as one line: source, key, message, and a remedy for a missing value."""
    node = next(found for length in range(len(key), -1, -1) if (found := find_node(root, key[:length])) is not None)
    source = node.source if key else Source(origin=path, line=1)
    remedy = f"; set it in the file or as {variable_of(key)}" if message.startswith(MISSING_VALUE) else ""
    return f"{source}: `{dotted(key)}` {message}{remedy}"

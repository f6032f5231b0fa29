"""The config of an image: how it runs, and the commands that made its layers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.inspection.documents import (
    Some,
    as_list,
    as_object,
    as_pairs,
    as_size,
    as_text,
    as_texts,
    read_object,
    take,
)

_NOP: Final = re.compile(r"(?:/bin/sh -c|cmd /S /C) #\(nop\)\s*")
"""Classic builders record an instruction that runs nothing this way."""
_ARGUMENTS: Final = re.compile(r"\|\d+ .*?(?=/bin/[a-z]+ -)", re.DOTALL)
"""Builders record the values of `ARG` before the shell."""
_SHELL: Final = re.compile(r"(?:/bin/sh -c|cmd /S /C)\s+")
_BUILDKIT: Final = re.compile(r"\s+# buildkit\s*$")
_RUN: Final = "RUN "


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A blob of a manifest other than its config."""

    digest: str
    size: int
    media_type: str
    title: str = ""
    """The name of the file, for an artifact."""
    annotations: Some[tuple[str, str]] = field(default_factory=Some)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the build of an image."""

    command: str
    """As in a Dockerfile; empty if it is not known."""
    comment: str = ""
    layer: Layer | None = None
    """None for a step that changed no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The config of an image, as far as a page shows it."""

    is_readable: bool
    """Whether the config is a JSON object of a size that can be shown."""
    author: str = ""
    user: str = ""
    working_directory: str = ""
    stop_signal: str = ""
    entrypoint: Some[str] = field(default_factory=Some)
    command: Some[str] = field(default_factory=Some)
    environment: Some[str] = field(default_factory=Some)
    ports: Some[str] = field(default_factory=Some)
    volumes: Some[str] = field(default_factory=Some)
    history: Sequence[tuple[str, str, bool]] = ()
    """The command, the comment, and whether there is a layer, for each step of the build."""


def read_config(content: bytes | None) -> ImageConfig:
    """Return the config of an image; an unreadable one without content."""
    document = read_object(content or b"")
    settings = as_object(document.get("config"))
    return ImageConfig(
        is_readable=bool(document),
        author=as_text(document.get("author")),
        user=as_text(settings.get("User")),
        working_directory=as_text(settings.get("WorkingDir")),
        stop_signal=as_text(settings.get("StopSignal")),
        entrypoint=as_texts(settings.get("Entrypoint")),
        command=as_texts(settings.get("Cmd")),
        environment=as_texts(settings.get("Env")),
        ports=as_texts(sorted(as_object(settings.get("ExposedPorts")))),
        volumes=as_texts(sorted(as_object(settings.get("Volumes")))),
        history=[_history(as_object(entry)) for entry in as_list(document.get("history"))],
    )


def read_layers(manifest: Mapping[str, Any]) -> Sequence[Layer]:
    """Return the layers of a manifest, or the blobs of one of the first drafts of OCI artifacts, in order."""
    entries = as_list(manifest.get("layers")) or as_list(manifest.get("blobs"))
    return [_layer(as_object(entry)) for entry in entries]


def build_steps(layers: Sequence[Layer], history: Sequence[tuple[str, str, bool]]) -> Some[Step]:
    """Return the steps of the build of an image, in their order.

    The layers have no commands if the config lists another number of them; the commands then follow the layers.
    """
    steps: list[Step] = []
    if sum(has_layer for _, _, has_layer in history) == len(layers):
        waiting = iter(layers)
        for command, comment, has_layer in history:
            steps.append(Step(command=command, comment=comment, layer=next(waiting) if has_layer else None))
    else:
        steps += [Step(command="", layer=layer) for layer in layers]
        steps += [Step(command=command, comment=comment) for command, comment, _ in history]
    return take(steps, lambda step: len(step.command) + len(step.comment))


def clean_command(text: str) -> str:
    """Return the command of a step as it was in the Dockerfile, without the additions of builders."""
    text = text.strip()
    is_buildkit = bool(_BUILDKIT.search(text))
    text = _BUILDKIT.sub("", text)
    if match := _NOP.match(text):
        return text[match.end() :].strip()
    runs, text = text.startswith(_RUN), text.removeprefix(_RUN)
    text = _ARGUMENTS.sub("", text, count=1) if text.startswith("|") else text
    if match := _SHELL.match(text):
        return _RUN + text[match.end() :].strip()
    return _RUN + text if runs or (not is_buildkit and text.startswith("/bin/")) else text


def _history(entry: Mapping[str, Any]) -> tuple[str, str, bool]:
    command, comment = as_text(entry.get("created_by")), as_text(entry.get("comment"))
    is_builder = comment.startswith("buildkit.")
    return clean_command(command), "" if is_builder else comment, entry.get("empty_layer") is not True


def _layer(entry: Mapping[str, Any]) -> Layer:
    annotations = as_object(entry.get("annotations"))
    return Layer(
        digest=as_text(entry.get("digest")),
        size=as_size(entry.get("size")),
        media_type=as_text(entry.get("mediaType")),
        title=as_text(annotations.get("org.opencontainers.image.title")),
        annotations=as_pairs(annotations),
    )

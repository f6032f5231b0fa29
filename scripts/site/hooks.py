"""Hooks of the documentation site, which mkdocs calls: the version, and the navigation of each language."""

import tomllib
from pathlib import Path
from typing import Any, Final

_CHINESE: Final = "zh-CN"
"""The folder of the Chinese pages, and the title of their part of the navigation."""


def on_config(config: Any) -> Any:
    """Show the version of the project in the title of the site."""
    project = tomllib.loads((Path(config.config_file_path).parent / "pyproject.toml").read_text(encoding="utf-8"))
    config.site_name = f"{config.site_name} {project['project']['version']}"
    return config


def on_page_context(context: Any, *, page: Any, nav: Any, **_: Any) -> Any:
    """Show a page the navigation of its own language."""
    chinese = [item for item in nav.items if item.title == _CHINESE]
    others = [item for item in nav.items if item.title != _CHINESE]
    if page.url.startswith(f"{_CHINESE}/"):
        others = [child for item in chinese for child in item.children]
    context["nav"] = type(nav)(others, nav.pages)
    context["nav"].homepage = nav.homepage
    return context

"""The visitor's language and theme, kept in cookies of the page."""

from collections.abc import Mapping
from typing import Final

from entrypoints.web.locations import Page
from entrypoints.web.rendering import LANGUAGES
from entrypoints.web.views.destinations import destination
from entrypoints.web.visits import Answer, Moved, View, Visit

LANGUAGE_COOKIE: Final = "registry_language"
THEME_COOKIE: Final = "registry_theme"
THEMES: Final = ("light", "dark")


class PreferenceViews:
    """Sets the language and the theme."""

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.PREFERENCES, "POST"): self.change}

    async def change(self, visit: Visit) -> Answer:
        """Keep the values of the form, and return to the page."""
        cookies = {}
        if (language := visit.field("language")) in LANGUAGES:
            cookies[LANGUAGE_COOKIE] = language
        if "theme" in visit.form:
            theme = visit.field("theme")
            cookies[THEME_COOKIE] = theme if theme in THEMES else ""
        return Moved(location=destination(visit.field("next")), cookies=cookies)

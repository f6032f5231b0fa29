"""The page that follows a form: always one of the site, whatever the form contains."""

from urllib.parse import unquote

from entrypoints.web.locations import Location, Page, locate


def destination(text: str) -> Location:
    """Return the page with this address below that of the site; the overview if there is none."""
    return locate(unquote(text)) or Location(Page.OVERVIEW)

"""The links of a page: `Link`, as RFC 8288 describes it."""


def links_of(header: str | None) -> dict[str, str]:
    """Return the URL of each relation in a `Link` header."""
    parts = [part for part in (header or "").split(", ") if part]
    return {part.partition('rel="')[2][:-1]: part[1:].partition(">")[0] for part in parts}

"""Human-readable counts."""


def plural(count: int, singular: str, plural_form: str = "") -> str:
    """Return a count with its noun: `1 tag`, `2 tags`, `3 repositories`."""
    noun = singular if count == 1 else plural_form or f"{singular}s"
    return f"{count:,} {noun}"

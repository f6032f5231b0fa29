"""Regions of SCS and their hosts."""

from typing import Final

_INTERNAL: Final = "-internal"
_PLACES: Final = ("bjcnc", "bjctc", "shctc", "gzctc")

REGIONS: Final = (*_PLACES, *(f"{place}{_INTERNAL}" for place in _PLACES))
"""All regions; the `-internal` ones are reachable from inside the data centre only."""


def endpoint_host(region: str) -> str:
    """Return the host that serves a region.

    Raises:
        ValueError: the region is unknown; the message lists the known ones.
    """
    if region not in REGIONS:
        raise ValueError(f"unknown SCS region {region!r}: use one of {', '.join(REGIONS)}")
    if region.endswith(_INTERNAL):
        return f"{region.removesuffix(_INTERNAL)}.scs-in.sohucs.com"
    return f"{region}.scs.sohucs.com"

"""Times as clients and operators read them: RFC 3339, in UTC."""

from datetime import UTC, datetime


def time_text(moment: datetime, *, timespec: str = "auto") -> str:
    """Return a moment in UTC, which ends with `Z`.

    Args:
        moment: an aware moment.
        timespec: the precision, as for `datetime.isoformat`; by default fractions of a second appear only if present.
    """
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")

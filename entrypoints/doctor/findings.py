"""Short ways to write diagnoses."""

from core.diagnosis import Diagnosis, Verdict


def ok(check: str, detail: str = "") -> Diagnosis:
    """Say that something is as it should be."""
    return Diagnosis(check=check, verdict=Verdict.OK, detail=detail)


def skipped(check: str, detail: str) -> Diagnosis:
    """Say why something was not looked at."""
    return Diagnosis(check=check, verdict=Verdict.SKIPPED, detail=detail)


def warning(check: str, detail: str, remedy: str) -> Diagnosis:
    """Say that something works, and will not always."""
    return Diagnosis(check=check, verdict=Verdict.WARNING, detail=detail, remedy=remedy)


def failure(check: str, detail: str, remedy: str) -> Diagnosis:
    """Say that something does not work."""
    return Diagnosis(check=check, verdict=Verdict.FAILURE, detail=detail, remedy=remedy)

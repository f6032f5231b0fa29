"""Construction of verifiers. Their modules are imported when a verification begins."""

from functools import partial
from typing import TYPE_CHECKING, Any

from config.container.applications import VerifierFactory
from core.coordination.budget import Budget

if TYPE_CHECKING:
    from core.verification.verifier import Verifier


def verifier_factory(**parts: Any) -> VerifierFactory:
    """Return the function that creates the verifier of one run, with these `VerifierParts`."""
    return partial(_new_verifier, parts)


def _new_verifier(parts: dict[str, Any], *, budget: Budget) -> "Verifier":
    from core.verification.verifier import Verifier, VerifierParts  # noqa: PLC0415

    return Verifier(VerifierParts(**parts), budget=budget)

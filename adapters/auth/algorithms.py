"""Signing algorithms of tokens."""

from typing import Final

ALGORITHMS: Final = (
    *("EdDSA", "Ed25519"),
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    *("HS256", "HS384", "HS512"),
)
"""All algorithms that can be allowed, without `none`. HS algorithms need an `oct` key, which joserfc checks."""

"""Docker's schema 1, which old registries stored: its payload as a blob, each signature as a blob of its own.

It is served as they served it, with the signatures spliced into the payload (libtrust's "pretty" JWS), and is not
accepted any more. Its digest is that of the payload, not of the text that a client gets.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final

from core.digest import Digest
from core.errors import DigestInvalidError

_INDENT: Final = "   "


def is_schema1(content: bytes) -> bool:
    """Whether a stored document is a manifest of schema 1."""
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schemaVersion") == 1


def schema1_layers(content: bytes) -> Sequence[Digest]:
    """Return the layers that a manifest of schema 1 names, as far as they can be read."""
    layers = json.loads(content).get("fsLayers")
    found = []
    for layer in layers if isinstance(layers, list) else ():
        try:
            found.append(Digest(layer["blobSum"]))
        except (DigestInvalidError, KeyError, TypeError, AttributeError):
            continue
    return found


def join_signatures(payload: bytes, signatures: Sequence[bytes]) -> bytes:
    """Return the signed text: the payload up to its closing brace, the signatures, the brace.

    A client takes the text apart again at the `formatLength` that every signature protects, so the payload's bytes
    before it come out as they are; the spaces between signatures mean nothing.

    Raises:
        ValueError: a signature is not what libtrust writes.
    """
    parsed = [json.loads(signature) for signature in signatures]
    head = payload[: _format_length(payload, parsed[0])]
    # libtrust indents by what the payload is indented by, which distribution wrote with three spaces.
    text = json.dumps(parsed, indent=_INDENT).replace("\n", f"\n{_INDENT}")
    return head + f',\n{_INDENT}"signatures": {text}\n}}'.encode()


def _format_length(payload: bytes, signature: dict[str, str]) -> int:
    try:
        protected = signature["protected"]
        raw = base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4))
        length = json.loads(raw)["formatLength"]
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError("signature has no protected formatLength") from error
    if not isinstance(length, int) or not 0 < length <= len(payload):
        raise ValueError("signature's formatLength does not fit its payload")
    return length

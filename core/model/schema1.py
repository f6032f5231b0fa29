"""Docker schema 1 manifests, as old registries stored them: the payload as one blob, each signature as another.

They are served in the form that those registries served: the signatures are spliced into the payload (libtrust's
"pretty" JWS). New schema 1 manifests are not accepted. The digest is that of the payload, not of the signed text that a
client receives.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final

from core.errors import DigestInvalidError
from core.json_text import load_json
from core.model.digest import Digest

_INDENT: Final = "   "


def is_schema1(content: bytes) -> bool:
    """Whether a stored document is a schema 1 manifest."""
    try:
        document = load_json(content.decode("utf-8"))
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("schemaVersion") == 1


def schema1_layers(content: bytes) -> Sequence[Digest]:
    """Return the layers of a schema 1 manifest; unreadable entries are skipped."""
    layers = load_json(content).get("fsLayers")
    found = []
    for layer in layers if isinstance(layers, list) else ():
        try:
            found.append(Digest(layer["blobSum"]))
        except (DigestInvalidError, KeyError, TypeError, AttributeError):
            continue
    return found


def join_signatures(payload: bytes, signatures: Sequence[bytes]) -> bytes:
    """Return the signed text: the payload up to its closing brace, then the signatures and the brace.

    A client splits the text at the `formatLength` that every signature protects, so the payload bytes before that
    position must be unchanged. The whitespace between signatures is not significant.

    Raises:
        ValueError: a signature is not in libtrust's format.
    """
    parsed = [load_json(signature) for signature in signatures]
    head = payload[: _format_length(payload, parsed[0])]
    # libtrust uses the indentation of the payload, which distribution wrote with three spaces.
    text = json.dumps(parsed, indent=_INDENT).replace("\n", f"\n{_INDENT}")
    return head + f',\n{_INDENT}"signatures": {text}\n}}'.encode()


def _format_length(payload: bytes, signature: dict[str, str]) -> int:
    try:
        protected = signature["protected"]
        raw = base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4))
        length = load_json(raw)["formatLength"]
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError("signature has no protected formatLength") from error
    if not isinstance(length, int) or not 0 < length <= len(payload):
        raise ValueError("signature's formatLength does not fit its payload")
    return length

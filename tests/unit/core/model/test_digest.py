import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DigestInvalidError
from core.model.digest import Digest, StandardHasher, require_algorithm

HEX64 = "0123456789abcdef" * 4


@pytest.mark.parametrize(("text", "algorithm"), [(f"sha256:{HEX64}", "sha256"), (f"sha512:{HEX64 * 2}", "sha512")])
def test_supported_digest_keeps_its_text(text, algorithm):
    digest = Digest(text)
    assert (digest, digest.algorithm, digest.encoded) == (text, algorithm, text.partition(":")[2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        f"sha256:{HEX64[:-1]}",
        f"sha256:{HEX64}0",
        f"sha256:{HEX64.upper()}",
        f"SHA256:{HEX64}",
        f"sha256:{HEX64}\n",
        f"sha256:{HEX64[:-1]}/",
        f"sha512:{HEX64}",
        f"sha256:../{HEX64[:61]}",
        "sha256:" + "\N{ARABIC-INDIC DIGIT ZERO}" * 64,
    ],
)
def test_malformed_digest_is_refused(text):
    with pytest.raises(DigestInvalidError):
        Digest(text)


def test_unsupported_algorithm_is_refused_by_name():
    with pytest.raises(DigestInvalidError, match="unsupported digest algorithm 'sha384'"):
        Digest(f"sha384:{'0' * 96}")
    with pytest.raises(DigestInvalidError, match="blake3"):
        require_algorithm("blake3")


@given(st.text())
def test_any_text_is_parsed_or_refused(text):
    try:
        digest = Digest(text)
    except DigestInvalidError:
        return
    assert digest.encoded.isalnum()


@given(st.binary())
def test_digest_of_content_is_computed(content):
    assert Digest.of(content) == "sha256:" + hashlib.sha256(content).hexdigest()
    hasher = StandardHasher("sha512")
    hasher.update(content)
    assert hasher.digest() == Digest.of(content, "sha512")
    assert hasher.export_state() is None

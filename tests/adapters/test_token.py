"""Tokens of a token server: signer, algorithm, audience and time; and the challenge for requests without a token."""

import base64
import hmac
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, KeySet, OKPKey

from adapters.auth.algorithms import ALGORITHMS
from adapters.auth.jwt_registry import SigningRegistry
from adapters.auth.token import TokenAuthenticator, format_scopes, parse_grants, parse_time
from adapters.auth.token_keys import libtrust_fingerprint, read_certificates, read_key_set
from core.model.access import CATALOG, Action, Grant, repository_access
from core.ports.authenticator import (
    Asked,
    CredentialsExpiredError,
    CredentialsInvalidError,
    CredentialSourceError,
    Fault,
)
from tests.support.token_keys import ISSUER, NOW, REALM, SERVICE, Authority, claims, grant, make_key, sign

ASKED = Asked(root="http://registry.example/", host="registry.example:5000")


class Keys(dict[str, Any]):
    """A key for each algorithm, made when it is needed first."""

    def __missing__(self, algorithm: str) -> Key:
        return self.setdefault(algorithm, make_key(algorithm))


KEYS = Keys()


@asynccontextmanager
async def trusting(folder, *, keys=(), certificates=(), **options):
    """An authenticator that trusts these keys and certificates."""
    paths = {}
    if keys:
        paths["key_set_path"] = str(folder / "jwks.json")
        (folder / "jwks.json").write_text(json.dumps(KeySet(list(keys)).as_dict()))
    if certificates:
        paths["certificates_path"] = str(folder / "bundle.pem")
        (folder / "bundle.pem").write_bytes(b"".join(each.pem for each in certificates))
    defaults: dict[str, Any] = {"realm": REALM, "issuer": ISSUER, "service": SERVICE, "now": lambda: NOW}
    async with TokenAuthenticator(**(defaults | paths | options)) as authenticator:
        yield authenticator


async def is_good(authenticator, token):
    try:
        await authenticator.authenticate(f"Bearer {token}")
    except CredentialsInvalidError:
        return False
    return True


def header(key, algorithm="ES256", **more):
    return {"alg": algorithm, "kid": key.thumbprint(), **more}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_verifies(tmp_path, algorithm):
    key = KEYS[algorithm]
    async with trusting(tmp_path, keys=[key]) as authenticator:
        principal = await authenticator.authenticate(
            "Bearer " + sign(header(key, algorithm), claims(access=[grant("a/b", "pull", "push")]), key)
        )
        assert (principal.name, principal.has_credentials) == ("alice", True)
        assert principal.grants == (Grant("repository", "a/b", frozenset({"pull", "push"})),)
        other = make_key(algorithm)
        assert not await is_good(authenticator, sign(header(key, algorithm), claims(), other))


def test_none_is_no_algorithm():
    assert "none" not in ALGORITHMS


def encode(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", None, "HS256", "RS256", "XY1"], ids=repr)
async def test_unsigned_tokens_are_refused(tmp_path, name):
    key = KEYS["ES256"]
    async with trusting(tmp_path, keys=[key]) as authenticator:
        for signature in ("", "AA"):
            token = f"{encode({'alg': name, 'kid': key.thumbprint()})}.{encode(claims())}.{signature}"
            assert not await is_good(authenticator, token)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
async def test_public_key_is_not_accepted_as_a_shared_secret(tmp_path, algorithm):
    """The classic confusion: HMAC with the public key's text as its key."""
    key = KEYS[algorithm]
    async with trusting(tmp_path, keys=[key]) as authenticator:
        public = key.as_pem(private=False)
        for secret in (public, public.strip(), key.as_der(private=False)):
            message = f"{encode(header(key, 'HS256'))}.{encode(claims())}"
            assert not await is_good(
                authenticator, _with_signature(message, hmac.digest(secret, message.encode(), "sha256"))
            )


async def test_algorithms_can_be_narrowed(tmp_path):
    async with trusting(tmp_path, keys=[KEYS["RS256"], KEYS["ES256"]], algorithms=["RS256"]) as authenticator:
        assert await is_good(authenticator, sign(header(KEYS["RS256"], "RS256"), claims(), KEYS["RS256"]))
        assert not await is_good(authenticator, sign(header(KEYS["RS256"], "RS384"), claims(), KEYS["RS256"]))
        assert not await is_good(authenticator, sign(header(KEYS["ES256"]), claims(), KEYS["ES256"]))


@pytest.mark.parametrize("algorithms", [["none"], ["RS256", "xyz"], []])
def test_unknown_algorithms_stop_the_start(algorithms):
    with pytest.raises(ValueError, match="known are"):
        SigningRegistry(algorithms)


def test_keys_are_needed():
    with pytest.raises(ValueError, match="keys"):
        TokenAuthenticator(realm=REALM, issuer=ISSUER, service=SERVICE, now=lambda: NOW)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"aud": [SERVICE, "other"]}, True),
        ({"aud": ["other"]}, False),
        ({"aud": "other"}, False),
        ({"aud": None}, False),
        ({"aud": []}, False),
        ({"aud": {"a": 1}}, False),
        ({"iss": "other"}, False),
        ({"iss": None}, False),
        ({"iss": [ISSUER]}, False),
        ({"exp": int(NOW.timestamp()) - 59}, True),
        ({"exp": int(NOW.timestamp()) - 61}, False),
        ({"exp": None}, False),
        ({"exp": "tomorrow"}, False),
        ({"exp": float("nan")}, False),
        ({"nbf": int(NOW.timestamp()) + 59}, True),
        ({"nbf": int(NOW.timestamp()) + 61}, False),
        ({"nbf": None}, True),
        ({"sub": ""}, True),
        ({"sub": None}, True),
        ({"sub": 5}, False),
        ({"access": None}, True),
        ({"access": "all"}, True),
        ({"access": [{"type": "repository"}, 5, {"type": 1, "name": 2, "actions": 3}]}, True),
    ],
)
async def test_claims_decide_acceptance(tmp_path, changes, good):
    key = KEYS["ES256"]
    async with trusting(tmp_path, keys=[key]) as authenticator:
        assert await is_good(authenticator, sign(header(key), claims(**changes), key)) is good


async def test_expired_token_names_its_user(tmp_path):
    key = KEYS["ES256"]
    expiry = int(NOW.timestamp()) - 3600
    async with trusting(tmp_path, keys=[key]) as authenticator:
        token = sign(header(key), claims(exp=expiry, access=[grant("a", "push")]), key)
        with pytest.raises(CredentialsExpiredError) as raised:
            await authenticator.authenticate(f"Bearer {token}")
        assert raised.value.expired_at == datetime.fromtimestamp(expiry, UTC)
        assert raised.value.principal.name == "alice"
        # Other defects count first: a forged token must not name a user.
        with pytest.raises(CredentialsInvalidError) as refused:
            await authenticator.authenticate("Bearer " + sign(header(key), claims(exp=expiry, iss="x"), key))
        assert not isinstance(refused.value, CredentialsExpiredError)


@pytest.mark.parametrize("seconds", [-1e300, 0, -(10**25)])
def test_out_of_range_expiry_lies_in_the_past(seconds):
    assert parse_time(seconds) < NOW


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "Ed25519"])
async def test_both_kinds_of_key_id_are_accepted(tmp_path, algorithm):
    key = KEYS[algorithm]
    async with trusting(tmp_path, keys=[key]) as authenticator:
        for kid in (key.thumbprint(), libtrust_fingerprint(key)):
            assert await is_good(authenticator, sign({"alg": algorithm, "kid": kid}, claims(), key))
        assert not await is_good(authenticator, sign({"alg": algorithm, "kid": "other"}, claims(), key))
        assert not await is_good(authenticator, sign({"alg": algorithm}, claims(), key))


async def test_key_id_of_the_key_set_is_used(tmp_path):
    key = ECKey.generate_key("P-256", {"kid": "2026-11"})
    async with trusting(tmp_path, keys=[key]) as authenticator:
        assert await is_good(authenticator, sign({"alg": "ES256", "kid": "2026-11"}, claims(), key))


def test_fingerprint_has_the_form_of_libtrust():
    fingerprint = libtrust_fingerprint(KEYS["ES256"])
    assert len(fingerprint.split(":")) == 12
    assert {len(group) for group in fingerprint.split(":")} == {4}


@pytest.mark.parametrize("kind", ["elliptic", "rsa"])
def test_keys_of_certificates_have_both_ids(kind):
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    authority = Authority(key=key)
    keys = read_certificates(authority.pem)
    assert len(keys.by_id) == 2
    assert keys.roots == (authority.certificate,)


async def test_certificate_of_the_bundle_signs(tmp_path):
    root = Authority()
    async with trusting(tmp_path, certificates=[root]) as authenticator:
        assert await is_good(authenticator, sign(header(root.jwk), claims(), root.jwk))
        assert await is_good(authenticator, sign({"alg": "ES256", "x5c": [root.der_base64]}, claims(), root.jwk))


def chain():
    root = Authority("root")
    middle = Authority("middle", issuer=root)
    return root, middle, Authority("leaf", issuer=middle, is_authority=False)


async def test_chain_leads_to_the_bundle(tmp_path):
    root, middle, leaf = chain()
    async with trusting(tmp_path, certificates=[root]) as authenticator:
        x5c = [leaf.der_base64, middle.der_base64]
        assert await is_good(authenticator, sign({"alg": "ES256", "x5c": x5c}, claims(), leaf.jwk))
        jwk = leaf.jwk.as_dict(private=False) | {"x5c": x5c}
        assert await is_good(authenticator, sign({"alg": "ES256", "jwk": jwk}, claims(), leaf.jwk))


@pytest.mark.parametrize(
    "case", ["gap", "stranger", "leaf signs", "late", "early", "empty", "no list", "rubbish", "long"]
)
async def test_untrusted_chains_are_refused(tmp_path, case):
    root, middle, leaf = chain()
    stranger = Authority("root")
    below = Authority("below", issuer=leaf, is_authority=False)
    late = Authority("late", issuer=root, is_authority=False, valid_from=NOW - timedelta(days=60))
    early = Authority("early", issuer=root, is_authority=False, valid_from=NOW + timedelta(days=1))
    x5c, signer = {
        "gap": ([leaf.der_base64], leaf),
        "stranger": ([stranger.der_base64], stranger),
        "leaf signs": ([below.der_base64, leaf.der_base64, middle.der_base64], below),
        "late": ([late.der_base64], late),
        "early": ([early.der_base64], early),
        "empty": ([], leaf),
        "no list": (leaf.der_base64, leaf),
        "rubbish": (["AAAA"], leaf),
        "long": ([leaf.der_base64] + [middle.der_base64] * 20, leaf),
    }[case]
    async with trusting(tmp_path, certificates=[root]) as authenticator:
        token = _signed_raw({"alg": "ES256", "x5c": x5c}, signer)
        assert not await is_good(authenticator, token)


def _signed_raw(head, signer):
    """A token whose header is as wrong as it is meant to be: joserfc would not sign one."""
    registry = SigningRegistry(["ES256"])
    message = f"{encode(head)}.{encode(claims())}"
    return _with_signature(message, registry.get_alg("ES256").sign(message.encode(), signer.jwk))


def _with_signature(message, signature):
    return f"{message}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_issuer_must_be_an_authority_that_signs(tmp_path):
    """Whatever stands in the bundle, as many operators put the leaf there."""
    plain = Authority("plain", is_authority=False)
    encipherer = Authority("encipherer", signs=False)
    for issuer in (plain, encipherer):
        below = Authority("below", issuer=issuer, is_authority=False)
        async with trusting(tmp_path, certificates=[issuer]) as authenticator:
            assert await is_good(authenticator, sign(header(issuer.jwk), claims(), issuer.jwk))
            token = sign({"alg": "ES256", "x5c": [below.der_base64]}, claims(), below.jwk)
            assert not await is_good(authenticator, token)


def test_certificate_with_an_unknown_key_does_not_affect_others(caplog):
    """A root of a kind that signs no tokens can still stand in the bundle of a machine's authorities."""
    curve, known = Authority("curve", key=ed448.Ed448PrivateKey.generate()), Authority()
    keys = read_certificates(curve.pem + known.pem)
    assert known.jwk.thumbprint() in keys.by_id
    assert keys.roots == (curve.certificate, known.certificate)
    [record] = caplog.records
    assert record.getMessage().startswith("token verification: certificate 1 (CN=curve) ignored")


def test_certificate_with_a_short_key_is_refused():
    with pytest.raises(CredentialSourceError):
        read_certificates(Authority(key=rsa.generate_private_key(65537, 1024)).pem)  # noqa: S505 - that it is short is the test


def test_certificates_of_other_keys_are_refused():
    curve = Authority(key=ed448.Ed448PrivateKey.generate())
    with pytest.raises(CredentialSourceError):
        read_certificates(curve.pem)


async def test_certificate_may_hold_an_edwards_key(tmp_path):
    authority = Authority(key=ed25519.Ed25519PrivateKey.generate())
    async with trusting(tmp_path, certificates=[authority]) as authenticator:
        key = OKPKey.import_key(authority.private_pem)
        assert await is_good(authenticator, sign(header(key, "Ed25519"), claims(), key))


async def test_expired_root_does_not_vouch_for_itself(tmp_path):
    root = Authority(valid_from=NOW - timedelta(days=60))
    async with trusting(tmp_path, certificates=[root]) as authenticator:
        assert not await is_good(authenticator, sign({"alg": "ES256", "x5c": [root.der_base64]}, claims(), root.jwk))


async def test_key_in_the_header_counts_only_if_trusted(tmp_path):
    key, stranger = KEYS["ES256"], make_key("ES256")
    async with trusting(tmp_path, keys=[key, KEYS["HS256"]]) as authenticator:
        for signer, good in ((key, True), (stranger, False)):
            jwk = signer.as_dict(private=False)
            assert await is_good(authenticator, sign({"alg": "ES256", "jwk": jwk}, claims(), signer)) is good
        for broken in ({"kty": "EC"}, {}, {"kty": "oct", "k": "AA"}):
            assert not await is_good(authenticator, _signed_raw({"alg": "ES256", "jwk": broken}, Authority()))


async def test_new_keys_count_and_old_ones_do_not(tmp_path):
    old, new = KEYS["ES256"], make_key("ES256")
    async with trusting(tmp_path, keys=[old]) as authenticator:
        assert await is_good(authenticator, sign(header(old), claims(), old))
        (tmp_path / "jwks.json").write_text(json.dumps(KeySet([new]).as_dict(private=False)))
        assert await is_good(authenticator, sign(header(new), claims(), new))
        assert not await is_good(authenticator, sign(header(old), claims(), old))
        (tmp_path / "jwks.json").write_text("{")
        assert await is_good(authenticator, sign(header(new), claims(), new))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "x"}]}', b'{"keys": 5}', b"\xff", b"[" * 10_000]
)
def test_useless_key_sets_are_refused(content):
    with pytest.raises(CredentialSourceError):
        read_key_set(content)


def key_set(*keys):
    return json.dumps({"keys": [key.as_dict() if isinstance(key, Key) else key for key in keys]}).encode()


def oct_key(length):
    return {"kty": "oct", "kid": "o", "k": base64.urlsafe_b64encode(b"k" * length).rstrip(b"=").decode()}


SHORT_RSA = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xff" * 128).decode()}


@pytest.mark.parametrize(
    ("unusable", "told"),
    [
        ({"kty": "AKP", "alg": "ML-DSA-44", "kid": "b", "pub": "AAAA"}, "kid: b, kty: AKP, alg: ML-DSA-44"),
        ({"kty": "EC", "crv": "secp999", "x": "AA", "y": "AA", "kid": "c"}, "kid: c, kty: EC, crv: secp999"),
        ({"kty": "RSA", "kid": "no modulus"}, "kid: no modulus, kty: RSA"),
        ({"kid": "no type"}, "kid: no type"),
        ("no object", "not an object"),
        (None, "not an object"),
        (oct_key(5), "oct key of 5 bytes; at least 32 are required"),
        (oct_key(31), "oct key of 31 bytes; at least 32 are required"),
        (SHORT_RSA, "RSA key of 1024 bits; at least 2048 are required"),
    ],
    ids=str,
)
def test_unusable_keys_are_left_out_and_named(unusable, told, caplog):
    good = KEYS["RS256"]
    keys = read_key_set(key_set(unusable, good))
    assert set(keys.by_id) == set(read_key_set(key_set(good)).by_id)
    [record] = caplog.records
    assert record.getMessage().startswith("token verification: key 1 (")
    assert told in record.getMessage()
    with pytest.raises(CredentialSourceError, match="no key that can verify"):
        read_key_set(key_set(unusable))


def test_warnings_about_unusable_keys_contain_no_key(caplog):
    secret = base64.urlsafe_b64encode(b"hunter2").decode()
    read_key_set(key_set({"kty": "oct", "k": secret}, {"kty": "EC", "d": secret, "crv": secret[::-1]}, KEYS["ES256"]))
    assert len(caplog.records) == 2
    assert secret not in caplog.text


async def test_rotation_to_an_unknown_kind_loads_the_new_keys(tmp_path):
    old, new = KEYS["RS256"], KEYS["ES256"]
    async with trusting(tmp_path, keys=[old]) as authenticator:
        (tmp_path / "jwks.json").write_bytes(key_set({"kty": "AKP", "kid": "x"}, new))
        assert await is_good(authenticator, sign(header(new), claims(), new))
        assert not await is_good(authenticator, sign(header(old, "RS256"), claims(), old))


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"])
def test_useless_bundles_are_refused(content):
    with pytest.raises(CredentialSourceError):
        read_certificates(content)


def test_private_halves_are_not_kept():
    keys = read_key_set(json.dumps(KeySet([KEYS["RS256"]]).as_dict(private=True)).encode())
    assert all(not key.is_private for key in keys.by_id.values())


def challenge_of(*accesses, fault=None, asked=ASKED, **options):
    authenticator = TokenAuthenticator(
        realm=REALM, issuer=ISSUER, service=SERVICE, now=lambda: NOW, key_set_path="unread", **options
    )
    return authenticator.challenge(accesses, asked, fault)


def test_challenge_equals_that_of_distribution():
    assert challenge_of() == f'Bearer realm="{REALM}",service="{SERVICE}"'
    accesses = (*repository_access("foo/bar", Action.PULL, Action.PUSH), *repository_access("src", Action.PULL))
    assert challenge_of(*accesses, fault=Fault.INVALID_TOKEN) == (
        f'Bearer realm="{REALM}",service="{SERVICE}",scope="repository:foo/bar:pull,push repository:src:pull",'
        'error="invalid_token"'
    )
    assert challenge_of(CATALOG, fault=Fault.INSUFFICIENT_SCOPE).endswith(
        ',scope="registry:catalog:*",error="insufficient_scope"'
    )


@pytest.mark.parametrize(
    ("scheme", "path", "realm"),
    [
        ("", "/auth/token", "https://registry.example:5000/auth/token"),
        ("http", "/auth/token", "http://registry.example:5000/auth/token"),
        ("https", "token", "https://registry.example:5000/token"),
    ],
)
def test_realm_can_follow_the_request(scheme, path, realm):
    asked = Asked(root="http://x/", host="registry.example:5000", forwarded_scheme=scheme)
    assert f'realm="{realm}"' in challenge_of(asked=asked, redirect_path=path)


def test_scopes_of_one_repository_are_joined():
    accesses = (*repository_access("a", Action.PULL, Action.PUSH), *repository_access("a", Action.PULL))
    assert format_scopes(accesses) == "repository:a:pull,push"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["type", "name", "actions", "access"]), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["access", "sub"]), JSON))
def test_any_access_claim_is_parsed(document):
    assert all(isinstance(each, Grant) for each in parse_grants(document))


@given(JSON, JSON)
def test_no_header_chooses_an_untrusted_key(jwk, x5c):
    keys = read_key_set(json.dumps(KeySet([KEYS["ES256"]]).as_dict(private=False)).encode())
    for head in ({"jwk": jwk}, {"x5c": x5c}, {"kid": str(jwk)}):
        with pytest.raises(CredentialsInvalidError):
            keys.choose(head, now=NOW)

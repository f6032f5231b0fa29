"""Users with client certificates: names, groups, and certificates that name no user."""

import pytest

from core.model.client_certificates import (
    GROUPS_MAX,
    NAME_BYTES_MAX,
    ClientCertificate,
    ClientIdentity,
    GroupField,
    NameField,
    UnusableCertificateError,
)
from core.model.setting import SettingInvalidError

NOTHING = dict.fromkeys(NameField, ())


def certificate(field=NameField.COMMON_NAME, names=("ci",), units=()):
    return ClientCertificate(names={**NOTHING, field: names}, units=units)


@pytest.mark.parametrize("field", NameField)
def test_chosen_field_names_the_user(field):
    principal = ClientIdentity(name=field).principal_of(certificate(field))
    assert (principal.name, principal.method, principal.has_credentials) == ("cert:ci", "certificate", True)
    assert (principal.groups, principal.grants, principal.key, principal.limit) == (frozenset(), None, "", None)
    other = next(each for each in NameField if each is not field)
    with pytest.raises(UnusableCertificateError, match="names no user"):
        ClientIdentity(name=field).principal_of(certificate(other))


def test_several_names_are_refused():
    with pytest.raises(UnusableCertificateError, match="names 2 users"):
        ClientIdentity().principal_of(certificate(names=("a", "b")))


ODD = ["", " ", " ci", "ci\t", "a\0b", "a\nb", "a\u202eb", "a\u200bb"]


@pytest.mark.parametrize("name", [*ODD, "x" * (NAME_BYTES_MAX + 1), "é" * 128, "x" * 10_240], ids=ascii)
def test_unusable_name_is_refused_and_not_quoted(name):
    with pytest.raises(UnusableCertificateError) as raised:
        ClientIdentity().principal_of(certificate(names=(name,)))
    assert name.strip() not in str(raised.value) or len(name.strip()) < 2


@pytest.mark.parametrize("name", ["Jane Doe", "@admins", "anonymous", "authenticated", "é", "x" * NAME_BYTES_MAX])
def test_name_is_always_behind_the_prefix(name):
    assert ClientIdentity(prefix="tls:").principal_of(certificate(names=(name,))).name == f"tls:{name}"


def test_units_are_groups_and_unusable_ones_are_left_out():
    identity = ClientIdentity(groups=GroupField.UNIT)
    principal = identity.principal_of(certificate(units=("dev", "x" * 10_240, "", "a\0", "ops")))
    assert principal.groups == {"cert:dev", "cert:ops"}
    many = identity.principal_of(certificate(units=[str(number) for number in range(1000)]))
    assert len(many.groups) == GROUPS_MAX


@pytest.mark.parametrize(
    ("uri", "groups"),
    [
        ("spiffe://a.example/ns/prod/sa/ci", {"spiffe://a.example", "spiffe://a.example/ns",
            "spiffe://a.example/ns/prod", "spiffe://a.example/ns/prod/sa"}),
        ("spiffe://a.example", set()),
        ("urn:ci", set()),
    ],
)  # fmt: skip
def test_parents_of_the_uri_are_groups(uri, groups):
    identity = ClientIdentity(name=NameField.URI, groups=GroupField.PATH)
    principal = identity.principal_of(certificate(NameField.URI, (uri,)))
    assert principal.groups == {f"cert:{group}" for group in groups}


def test_path_needs_a_uri():
    with pytest.raises(SettingInvalidError):
        ClientIdentity.complete({"name": NameField.DNS, "groups": GroupField.PATH})
    values = {"name": NameField.URI, "groups": GroupField.PATH}
    assert ClientIdentity.complete(values) == values


def test_groups_of_certificates_have_the_prefix():
    assert ClientIdentity(groups=GroupField.UNIT).names_group("cert:dev")
    assert not ClientIdentity(groups=GroupField.UNIT).names_group("dev")
    assert not ClientIdentity().names_group("cert:dev")

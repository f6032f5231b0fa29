"""`auth`: at most one method."""

from typing import Any

from marshmallow import ValidationError
from typing_extensions import override

from config.schema.base import SectionSchema, Sub
from config.schema.collections import ListOf
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Bool, Text
from config.settings import SIGNING_ALGORITHMS, AuthKind, AuthSettings, HtpasswdSettings, SillySettings, TokenSettings


class NoAuthSchema(SectionSchema):
    """`auth.none`, which has no parameters."""

    settings = dict


class SillySchema(SectionSchema):
    """`auth.silly`."""

    settings = SillySettings

    realm = Text("realm", "The realm of the challenge.", required=MISSING_VALUE)
    service = Text("service", "The service of the challenge.", required=MISSING_VALUE)


class HtpasswdSchema(SectionSchema):
    """`auth.htpasswd`."""

    settings = HtpasswdSettings

    realm = Text("realm", "The realm of the challenge.", required=MISSING_VALUE)
    path = Text("path", "The file of users and bcrypt hashes.", required=MISSING_VALUE)


class TokenSchema(SectionSchema):
    """`auth.token`."""

    settings = TokenSettings

    realm = Text("realm", "URL of the token server.", required=MISSING_VALUE)
    issuer = Text("issuer", "The issuer that tokens must name.", required=MISSING_VALUE)
    service = Text("service", "The audience that tokens must name.", required=MISSING_VALUE)
    root_cert_bundle = Text("rootcertbundle", "PEM file of the certificates whose keys sign tokens.")
    jwks = Text("jwks", "File with a JSON Web Key Set whose keys sign tokens.")
    signing_algorithms = ListOf(
        Text("signingalgorithms", "Accepted signing algorithms; an empty list accepts all.", choices=SIGNING_ALGORITHMS)
    )
    auto_redirect = Bool("autoredirect", "Whether the token server has the host name of the client's request.")
    auto_redirect_path = Text("autoredirectpath", "Path of the token server on that host.")

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section without a key to verify tokens with."""
        if not values.get("root_cert_bundle") and not values.get("jwks"):
            raise ValidationError({"rootcertbundle": [f"{MISSING_VALUE}, unless `jwks` is given"]})
        return values


class AuthSchema(SectionSchema):
    """`auth`; a bare method name stands for that method without parameters."""

    settings = AuthSettings
    refuses_unknown = True

    none = Sub("none", "No authentication.", NoAuthSchema, may_be_empty=True)
    silly = Sub("silly", "Accepts any credentials; for tests.", SillySchema, may_be_empty=True)
    htpasswd = Sub("htpasswd", "Users and passwords in a file.", HtpasswdSchema, may_be_empty=True)
    token = Sub("token", "Tokens signed by a token server.", TokenSchema, may_be_empty=True)

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add the kind of the selected method; reject several methods."""
        kinds = [kind for kind in AuthKind if kind in values]
        if len(kinds) > 1:
            raise ValidationError(f"selects {len(kinds)} methods, {' and '.join(kinds)}: keep one")
        values.pop("none", None)
        return values | {"kind": kinds[0]} if kinds else values

"""New access rules apply while the server runs, unless they were written for another method of authentication."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.auth.open import OpenAuthenticator
from config.errors import ConfigError
from config.policies import TagImmutability
from config.settings import (
    AccessSettings,
    AuthKind,
    AuthSettings,
    Settings,
)
from core.model.access import MEMBERS_ONLY, ImmutableTags, Rule, RuleAction
from core.model.names import RepositoryName, Tag
from core.ports.authenticator import CredentialSourceError
from entrypoints.process.access_part import AccessPart


class Authorizer:
    """The parts of an authorizer that `AccessPart` uses."""

    def __init__(self):
        self.policy, self.lifetime, self.is_broken = MEMBERS_ONLY, None, False

    def use(self, policy, *, upload_lifetime):
        self.policy, self.lifetime = policy, upload_lifetime

    async def reload(self):
        if self.is_broken:
            raise CredentialSourceError("line 3")
        await OpenAuthenticator().reload()


BEGUN = Settings(auth=AuthSettings(methods=(AuthKind.HTPASSWD,)))
RULES = AccessSettings(
    rules=(Rule(who=("bob",), actions=(RuleAction.PULL,)),),
    upload_lifetime_seconds=60,
    immutable_tags=(ImmutableTags(),),
)


def part_of(authorizer, kept):
    return AccessPart(authorizer, kept, BEGUN)


def test_new_rules_are_used():
    authorizer, kept = Authorizer(), TagImmutability(AccessSettings())
    part_of(authorizer, kept).apply(replace(BEGUN, access=RULES))
    assert [rule.who for rule in authorizer.policy.rules] == [("bob",)]
    assert authorizer.lifetime == timedelta(seconds=60)
    assert kept(RepositoryName("a"), Tag("b"))


def test_rules_for_another_method_wait_for_the_next_start(caplog):
    authorizer = Authorizer()
    changed = replace(BEGUN, auth=AuthSettings(), access=AccessSettings())
    part_of(authorizer, TagImmutability(AccessSettings())).apply(changed)
    assert authorizer.policy is MEMBERS_ONLY
    assert "next start" in caplog.text


async def test_broken_files_are_a_configuration_error():
    authorizer = Authorizer()
    part = part_of(authorizer, TagImmutability(AccessSettings()))
    await part.reload()
    authorizer.is_broken = True
    with pytest.raises(ConfigError) as raised:
        await part.reload()
    assert raised.value.problems == ("line 3",)

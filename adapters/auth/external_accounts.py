"""Users of an identity provider: they have no password here, but sessions and API keys."""

from typing_extensions import override

from core.external_users.service import ExternalUsers
from core.ports.authenticator import Account, Accounts


class ExternalAccounts(Accounts):
    """The users who signed in at the identity provider, beside those of a file.

    Args:
        users: the users who signed in.
        others: the users of the file, whose names contain no colon; None without a file.
    """

    def __init__(self, users: ExternalUsers, others: Accounts | None = None) -> None:
        self._users = users
        self._others = others

    @override
    async def account(self, name: str, *, key: str = "") -> Account | None:
        if ":" not in name:
            return None if self._others is None else await self._others.account(name, key=key)
        user = None if key else await self._users.find(name)
        return None if user is None else Account(principal=user.principal, stamp=user.stamp)

"""`access`: access rules without a token server, and immutable tags."""

from dataclasses import dataclass

from core.model.access import ImmutableTags, Rule
from core.model.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Access rules; without any, access depends on the authentication method, as in distribution."""

    rules: tuple[Rule, ...] = setting(
        "rules", "Access rules; requests that no rule allows are refused.", (), refuses_unknown=True
    )
    group_file: str | None = setting("groupfile", "File of groups, one `group: user user` per line.", None)
    blocked_users: tuple[str, ...] = setting(
        "blockedusers", "Users who are denied access at once, even with a valid token.", ()
    )
    upload_lifetime_seconds: float = setting(
        "uploadlifetime", "How long after its start an upload may outlive its token; 0 means not at all.", 6 * 3600.0
    )
    immutable_tags: tuple[ImmutableTags, ...] = setting(
        "immutabletags", "Tags that cannot be moved or deleted.", (), refuses_unknown=True
    )

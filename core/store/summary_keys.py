"""Storage keys of summaries, an extension of this registry beside the tree of distribution.

    /docker/registry/v2/_summaries
    ├── _changes/<time>-<id>_<repository>     one change, until it is folded into the objects below
    ├── _repositories                         one line per repository: number of tags, size, last push
    ├── _search/<number>                      the texts of some repositories, for searches
    └── <name>
        ├── _manifests                        the summaries of a repository's manifests
        └── _history                          the changes of its tags, newest last

They lie outside the folder of the repository, so they neither make a repository exist nor end with it. In the name of a
change, `S` stands for each `/` of the repository, whose name has no upper-case letters. A long repository name is left
out, because the components of a path are limited to 255 bytes.
"""

from typing import Final

from core.model.names import RepositoryName
from core.store import layout

SUMMARIES: Final = f"{layout.ROOT}/_summaries"
CHANGES: Final = f"{SUMMARIES}/_changes"
"""Its children are the changes that are not folded yet."""
_SLASH: Final = "S"
_ENCODED_NAME_MAX: Final = 150
REPOSITORY_TABLE: Final = f"{SUMMARIES}/_repositories"


def search_hints(shard: int) -> str:
    """Return the key of the texts of a shard of all repositories."""
    return f"{SUMMARIES}/_search/{shard:02}"


def manifest_summaries(name: RepositoryName) -> str:
    """Return the key of the summaries of a repository's manifests."""
    return f"{SUMMARIES}/{name}/_manifests"


def tag_history(name: RepositoryName) -> str:
    """Return the key of the history of a repository's tags."""
    return f"{SUMMARIES}/{name}/_history"


def change(record: str) -> str:
    """Return the key of a change that is not folded yet."""
    return f"{CHANGES}/{record}"


def change_record(record_id: str, name: RepositoryName) -> str:
    """Return the last component of a change's key. The id consists of letters, digits, dots and dashes."""
    encoded = name.replace("/", _SLASH)
    return f"{record_id}_{encoded}" if len(encoded) <= _ENCODED_NAME_MAX else record_id


def parse_change_record(record: str) -> tuple[str, RepositoryName | None]:
    """Return id and repository of a change from the last component of its key; None if it does not name one."""
    record_id, _, encoded = record.partition("_")
    return record_id, RepositoryName.parse(encoded.replace(_SLASH, "/"))

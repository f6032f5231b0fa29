"""Storage keys of summaries, an extension of this registry beside the tree of distribution.

    /docker/registry/v2/_summaries
    ├── _changes/<time>-<id>-<repository>     one change, until it is folded into the two objects below
    ├── _repositories                         one line per repository: number of tags, size, last push
    └── <name>
        ├── _manifests                        the summaries of a repository's manifests
        └── _history                          the changes of its tags, newest last

They lie outside the folder of the repository, so they neither make a repository exist nor end with it.
"""

from typing import Final

from core.model.names import RepositoryName
from core.store import layout

SUMMARIES: Final = f"{layout.ROOT}/_summaries"
CHANGES: Final = f"{SUMMARIES}/_changes"
"""Its children are the changes that are not folded yet."""
REPOSITORY_TABLE: Final = f"{SUMMARIES}/_repositories"


def manifest_summaries(name: RepositoryName) -> str:
    """Return the key of the summaries of a repository's manifests."""
    return f"{SUMMARIES}/{name}/_manifests"


def tag_history(name: RepositoryName) -> str:
    """Return the key of the history of a repository's tags."""
    return f"{SUMMARIES}/{name}/_history"


def change(change_id: str) -> str:
    """Return the key of a change that is not folded yet."""
    return f"{CHANGES}/{change_id}"

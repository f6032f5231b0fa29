"""Types of the fields of application objects whose modules a server imports only when it uses them."""

from typing import Any, Final

from config.container.pull_through import PullThrough
from core.summaries.folding import SummaryFolding
from core.transfer.mirrors import MirrorService

LATE_TYPES: Final[dict[str, Any]] = {
    "MirrorService": MirrorService,
    "PullThrough": PullThrough,
    "SummaryFolding": SummaryFolding,
}

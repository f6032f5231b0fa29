"""The views: each answers the requests for one or a few kinds of pages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.sessions import Sessions
from entrypoints.web.views.activity import ActivityViews
from entrypoints.web.views.deleting import DeletingViews
from entrypoints.web.views.history import HistoryViews
from entrypoints.web.views.image import ImageViews
from entrypoints.web.views.keys import KeyViews
from entrypoints.web.views.notifications import NotificationViews
from entrypoints.web.views.overview import OverviewViews
from entrypoints.web.views.preferences import PreferenceViews
from entrypoints.web.views.read_only import ReadOnlyViews
from entrypoints.web.views.repository import RepositoryViews
from entrypoints.web.views.retention import RetentionViews
from entrypoints.web.views.search import SearchViews
from entrypoints.web.views.signing import SigningViews
from entrypoints.web.views.trash import TrashViews
from entrypoints.web.views.usage import UsageViews
from entrypoints.web.views.verification import VerificationViews
from entrypoints.web.visits import View

if TYPE_CHECKING:
    from core.external_users.sign_in import ExternalSignIn


def all_views(parts: SiteParts, sessions: Sessions) -> Mapping[tuple[Page, str], View]:
    """Return the view of each kind of page and each method."""
    external = parts.operations.external_sign_in
    return {
        **ActivityViews(parts).views(),
        **OverviewViews(parts).views(),
        **ImageViews(parts).views(),
        **SearchViews(parts).views(),
        **UsageViews(parts).views(),
        **RepositoryViews(parts).views(),
        **DeletingViews(parts).views(),
        **HistoryViews(parts).views(),
        **SigningViews(parts, sessions).views(),
        **(_provider_views(parts, sessions, external) if external is not None else {}),
        **KeyViews(parts).views(),
        **PreferenceViews().views(),
        **TrashViews(parts).views(),
        **RetentionViews(parts).views(),
        **VerificationViews(parts).views(),
        **ReadOnlyViews(parts).views(),
        **NotificationViews(parts).views(),
    }


def _provider_views(
    parts: SiteParts, sessions: Sessions, external: "ExternalSignIn"
) -> Mapping[tuple[Page, str], View]:
    # Imported only where the configuration needs it.
    from entrypoints.web.views.provider import ProviderViews  # noqa: PLC0415

    return ProviderViews(parts, sessions, external).views()

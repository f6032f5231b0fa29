"""Jobs that one replica runs at a time: `/v2/_sohu/registry/collection` and `/v2/_sohu/registry/verification`."""

from aiohttp import web
from typing_extensions import override

from core.model.pagination import parse_page_size
from core.verification.journal import Journal
from entrypoints.documents import checkpoint_document, job_document
from entrypoints.http.handlers.base import json_response, revalidated
from entrypoints.http.handlers.bodies import require_action
from entrypoints.http.routes import Right, Target
from entrypoints.http.runtime_flags import RuntimeFlags
from entrypoints.http.urls import UrlBuilder
from entrypoints.jobs.on_demand import JobControl


class JobHandlers:
    """Handlers for a job."""

    def __init__(self, control: JobControl, flags: RuntimeFlags) -> None:
        self._control = control
        self._flags = flags

    async def get(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Show whether the job runs, and the result of the last run."""
        return revalidated(request, await self._document(), {})

    async def post(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Start a run that continues after the response."""
        await require_action(request, "start")
        if self._control.is_upkeep:
            await self._flags.require(Right.UPKEEP)
        await self._control.start()
        return json_response(await self._document(), status=202)

    async def _document(self) -> dict[str, object]:
        state = await self._control.state()
        return job_document(state, next_at=self._control.next_at(state))


class VerificationHandlers(JobHandlers):
    """Handlers for the verification, which also shows its findings."""

    def __init__(self, control: JobControl, flags: RuntimeFlags, findings: Journal, *, urls: UrlBuilder) -> None:
        super().__init__(control, flags)
        self._findings = findings
        self._urls = urls

    @override
    async def get(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Show whether the job runs, its progress, and a page of the findings of the current or last run."""
        n, last = parse_page_size(request.query.get("n")), request.query.get("last", "")
        page = await self._findings.page(n=n, last=last)
        headers = self._urls.pages_around(request, following=page.last or None, n=n)
        checkpoint = await self._findings.peek()
        document = await self._document() | {
            "checkpoint": checkpoint and checkpoint_document(checkpoint),
            "findings": [finding.as_json() for finding in page.findings],
        }
        return revalidated(request, document, headers)

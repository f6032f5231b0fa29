"""Contract of every audit log that can be read back; subclasses provide `log`."""

from datetime import timedelta
from typing import Any

import pytest

from core.ports.audit_log import AuditAction, Stage
from core.ports.audit_trail import TrailQuery
from tests.contracts.audit_log_contract import AT, event

ALL = TrailQuery()


class AuditTrailContract:
    @pytest.fixture
    async def log(self) -> Any:
        raise NotImplementedError

    async def test_event_is_read_back_whole(self, log):
        written = event(
            stage=Stage.ASKED,
            allowed=False,
            actor="alice",
            key="k",
            login="key",
            claimed="bob",
            repository="team/app",
            tags=("v1", "v2"),
            digest="sha256:00",
            source="other",
            client="192.0.2.1",
            method="PUT",
            status=403,
            error="DENIED",
            request_id="r-1",
            trace_id="t-1",
            command="registry x",
            entry="e",
            reason="why\n\u2028é",
        )
        await log.record(written)
        assert list((await log.recent(ALL, n=10)).events) == [written]

    async def test_empty_log_has_no_events(self, log):
        page = await log.recent(ALL, n=10)
        assert (list(page.events), page.following) == ([], None)

    async def test_pages_are_newest_first_and_complete(self, log):
        for number in range(25):
            await log.record(event(at=AT + timedelta(seconds=number), request_id=str(number)))
        found, before = [], ""
        while before is not None:
            page = await log.recent(ALL, n=10, before=before)
            assert len(page.events) <= 10
            found += [each.request_id for each in page.events]
            before = page.following
        assert found == [str(number) for number in reversed(range(25))]

    async def test_new_events_do_not_move_a_page(self, log):
        for number in range(4):
            await log.record(event(request_id=str(number)))
        first = await log.recent(ALL, n=2)
        await log.record(event(request_id="new"))
        second = await log.recent(ALL, n=2, before=first.following)
        assert [each.request_id for each in second.events] == ["1", "0"]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (TrailQuery(user="alice"), ["3", "1"]),
            (TrailQuery(user="eve"), ["4"]),
            (TrailQuery(user="ali"), []),
            (TrailQuery(user="zoë"), ["5"]),
            (TrailQuery(repository="team"), ["3", "2"]),
            (TrailQuery(repository="team/app"), ["3"]),
            (TrailQuery(repository="tea"), []),
            (TrailQuery(action=AuditAction.TAG_DELETE), ["3"]),
            (TrailQuery(user="alice", repository="team", action=AuditAction.TAG_DELETE), ["3"]),
            (TrailQuery(user="bob", action=AuditAction.TAG_DELETE), []),
        ],
    )
    async def test_query_selects_by_user_repository_and_action(self, log, query, expected):
        await log.record(event(request_id="1", actor="alice", repository="other"))
        await log.record(event(request_id="2", actor="bob", repository="team"))
        deletion = event(request_id="3", actor="alice", repository="team/app", action=AuditAction.TAG_DELETE)
        await log.record(deletion)
        await log.record(event(request_id="4", claimed="eve", repository="teams/app"))
        await log.record(event(request_id="5", actor="zoë"))
        assert [each.request_id for each in (await log.recent(query, n=10)).events] == expected

    @pytest.mark.parametrize("before", ["x", "1", "-", "1-2-3", "99999999999999999999-99999999999999999999", "\x00"])
    async def test_unknown_position_gives_an_empty_page(self, log, before):
        await log.record(event())
        page = await log.recent(ALL, n=10, before=before)
        assert (list(page.events), page.following) == ([], None)

"""Diagnosis of missing MySQL rights: each right is exercised and the change rolled back."""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Final

import pymysql.err

from adapters.catalog_index.mysql.connections import RIGHTS_MISSING, TABLE_MISSING, Session, error_code
from adapters.catalog_index.mysql.schema import NameOrder, create_statement, exercise_create, order_of
from core.diagnosis import Diagnosis, Verdict

_SCRATCH: Final = "registry-doctor/rights"
"""A repository name that no push is likely to use before the test transaction is rolled back."""
_CHANGES: Final = {
    "INSERT": "INSERT INTO repositories (name, createTime) VALUES (%s, 0)",
    "UPDATE": "UPDATE repositories SET createTime = 0 WHERE name = %s",
    "DELETE": "DELETE FROM repositories WHERE name = %s",
}
_FIND_COLLATION: Final = (
    "SELECT COALESCE(collation_name, 'binary') FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = 'repositories' AND column_name = 'name'"
)
_FIND_ENGINE: Final = (
    "SELECT engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'repositories'"
)


async def diagnose_rights(session: Session) -> Sequence[Diagnosis]:
    """Exercise each right on the table once; all changes are rolled back, and a missing table stays missing."""
    found = [await _create(session)]
    found.append(await _try("SELECT", session.run("SELECT name FROM repositories LIMIT 1")))
    for right, statement in _CHANGES.items():
        found.append(await _try(right, _rolled_back(session, statement)))
    return [*found, *await _table(session)]


async def _create(session: Session) -> Diagnosis:
    diagnosis = await _try("CREATE", exercise_create(session))
    if diagnosis.verdict is not Verdict.FAILURE:
        return diagnosis
    try:
        await session.run("SELECT 1 FROM repositories LIMIT 1")
    except pymysql.err.MySQLError as error:
        if error_code(error) == TABLE_MISSING:
            statement = create_statement()
            return replace(diagnosis, remedy=f"{diagnosis.remedy}, or run as another user: {statement}")
    # The right is needed only to create the table, which exists.
    return replace(diagnosis, verdict=Verdict.WARNING)


async def _rolled_back(session: Session, statement: str) -> None:
    await session.run("START TRANSACTION")
    try:
        await session.run(statement, (_SCRATCH,))
    finally:
        await session.run("ROLLBACK")


async def _try(right: str, use: Awaitable[object]) -> Diagnosis:
    check = f"mysql: {right}"
    try:
        await use
    except pymysql.err.MySQLError as error:
        code = error_code(error)
        if code == TABLE_MISSING:
            # The server checks the right first. The registry creates the table when it fills it.
            return Diagnosis(check=check, verdict=Verdict.OK)
        is_right = code in RIGHTS_MISSING
        return Diagnosis(
            check=check,
            verdict=Verdict.FAILURE,
            detail="the user does not have this right" if is_right else f"MySQL returned error {code}",
            remedy=_grant(right) if is_right else f"look up MySQL's error {code}",
        )
    return Diagnosis(check=check, verdict=Verdict.OK)


def _grant(right: str) -> str:
    return f"GRANT {right} ON the database TO the registry's user"


async def _table(session: Session) -> Sequence[Diagnosis]:
    found = []
    collations, engines = await session.rows(_FIND_COLLATION), await session.rows(_FIND_ENGINE)
    if collations and order_of(str(collations[0][0])) is NameOrder.UNKNOWN:
        found.append(
            Diagnosis(
                check="mysql: collation",
                verdict=Verdict.WARNING,
                detail=f"{collations[0][0]}: each catalog page sorts the whole table",
                remedy="ALTER TABLE repositories MODIFY name VARCHAR(255) COLLATE ascii_bin NOT NULL",
            )
        )
    if engines and str(engines[0][0]).lower() != "innodb":
        found.append(
            Diagnosis(
                check="mysql: engine",
                verdict=Verdict.WARNING,
                detail=f"{engines[0][0]} has no transactions: clients can see an incomplete catalog during a rebuild",
                remedy="ALTER TABLE repositories ENGINE=InnoDB",
            )
        )
    return found

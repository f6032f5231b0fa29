"""`registry retention plan|apply [config.yml]`: show which tags the rules keep, and delete the others."""

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from core.retention.service import RetentionPlan
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import OPERATOR, run_on_store
from entrypoints.documents import plan_document
from entrypoints.exit_codes import ExitCode
from entrypoints.text import plural

if TYPE_CHECKING:
    from config.container import RegistryApplication


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="plan|apply")
    plan = actions.add_parser("plan", help="show which tags are kept or deleted, and why", allow_abbrev=False)
    plan.set_defaults(dry_run=True, lists_all=True)
    apply = actions.add_parser("apply", help="delete the tags that no rule keeps", allow_abbrev=False)
    apply.set_defaults(lists_all=False)
    for action in (plan, apply):
        add_file_argument(action)
        action.add_argument("--json", action="store_true", help="print one JSON object per line and repository")
    apply.add_argument("--dry-run", action="store_true", help="delete nothing; report which tags would be deleted")


def _run(arguments: Namespace) -> int:
    async def work(application: "RegistryApplication") -> tuple[int, int]:
        tags = gone = 0
        async for plan in application.registry.apply_retention(by=OPERATOR, dry_run=arguments.dry_run):
            tags += len(plan.verdicts)
            gone += len(plan.going if arguments.dry_run else plan.removed)
            _print(plan, arguments)
        return tags, gone

    tags, gone = run_on_store(arguments.file, work)
    if not arguments.json:
        went = "would be deleted" if arguments.dry_run else "deleted"
        sys.stdout.write(f"{gone:,} of {plural(tags, 'tag')} {went}\n")
    return ExitCode.OK


def _print(plan: RetentionPlan, arguments: Namespace) -> None:
    if arguments.json:
        sys.stdout.write(json.dumps(plan_document(plan)) + "\n")
        return
    for verdict in plan.verdicts:
        if verdict.goes or arguments.lists_all:
            what = "delete" if verdict.goes else "keep  "
            sys.stdout.write(f"{what}  {plan.name}:{verdict.state.tag}  {'; '.join(verdict.reasons)}\n")


RETENTION: Final = Command(
    name="retention",
    help="delete tags according to the configured rules",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: not arguments.dry_run,
)

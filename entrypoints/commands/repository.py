"""`registry repository delete NAME [config.yml]`: delete all tags and manifests of a repository while servers run."""

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from core.model.names import RepositoryName
from core.registry.repositories import RepositoryRemoval
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import OPERATOR, run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.text import plural

if TYPE_CHECKING:
    from config.container import RegistryApplication


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="delete")
    delete = actions.add_parser("delete", help="delete all tags and manifests of a repository", allow_abbrev=False)
    delete.add_argument("name", metavar="NAME", help="the repository")
    add_file_argument(delete)
    delete.add_argument("--dry-run", action="store_true", help="delete nothing; report what would be deleted")
    delete.add_argument("--reason", default="", help="reason, recorded in the trash")
    delete.add_argument("--json", action="store_true", help="print JSON")


def _run(arguments: Namespace) -> int:
    name = RepositoryName(arguments.name)

    async def work(application: "RegistryApplication") -> RepositoryRemoval:
        return await application.registry.delete_repository(
            name, by=OPERATOR, reason=arguments.reason, dry_run=arguments.dry_run
        )

    removal = run_on_store(arguments.file, work)
    sys.stdout.write(_document(removal) if arguments.json else _sentences(removal, is_dry=arguments.dry_run))
    return ExitCode.OK


def _document(removal: RepositoryRemoval) -> str:
    document = {
        "repository": removal.name,
        "tags": dict(removal.tags),
        "manifests": removal.manifests,
        "trash": removal.entry,
    }
    return json.dumps(document) + "\n"


def _sentences(removal: RepositoryRemoval, *, is_dry: bool) -> str:
    went = f"{plural(len(removal.tags), 'tag')} and {plural(len(removal.manifests), 'manifest')} of {removal.name}"
    if is_dry:
        return f"{went} would be deleted\n"
    back = f"`registry trash restore {removal.entry}` restores them; " if removal.entry else ""
    return f"{went} deleted; {back}the next garbage collection frees the space\n"


REPOSITORY: Final = Command(
    name="repository",
    help="delete whole repositories",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: not arguments.dry_run,
)

"""Every storage key. Nothing else in the project spells one.

The tree is distribution's (2.x and 3.x), byte for byte; lines marked `+` are ours, where it does not look.

    /docker/registry/v2
  + ├── _transfers/<id>/<alg>/<hex>                       a large blob on its way from another storage
  + ├── _notifications
  + │   ├── queued/<endpoint>/<event batch>               events that are still to be delivered
  + │   └── dead/<endpoint>/<event>                       events that were given up
  + ├── _control
  + │   ├── readonly                                      the registry is read-only (`core.read_only`)
  + │   ├── clock                                         when the time was last looked at (`core.store_clock`)
  + │   ├── time                                          written to learn the store's time (`core.store_time`)
  + │   ├── rounds/<entry>/{digests,<batch>,pulse}        a round of collection at work, named as its trash entry
  + │   ├── doctor/<id>/…                                 scratch objects of an examination under way
  + │   ├── spares/<alg>/<hex>                            a digest that collection is to leave alone
  + │   ├── damaged/<alg>/<hex>                           the state of data that was found damaged (`core.damage`)
  + │   ├── collection/<part>                             how far a run of collection is
  + │   ├── leases/<job>                                  which of several replicas does a job (`core.lease`)
  + │   ├── jobs/<job>                                    when it was done last (`core.schedule`)
  + │   └── pulls/{since,latest,batches/<id>}             when manifests were pulled (`core.pulls`)
  + ├── _trash
  + │   ├── entries/<entry>.<part>                        what was removed together, in numbered parts
  + │   ├── blobs/<alg>/<hex[:2]>/<hex>.<entry>           content that was collected under that entry
  + │   └── quarantine/<alg>/<hex[:2]>/<hex>.<entry>      content that is not what its digest says
    ├── blobs/<alg>/<hex[:2]>/<hex>/data                  content, addressed by its digest
    └── repositories/<name>
        ├── _layers/<alg>/<hex>/link                      this repository may read that blob
        ├── _manifests
        │   ├── revisions/<alg>/<hex>/link                this repository holds that manifest
        │   │   └── …/signatures/<alg>/<hex>/link         schema 1 signatures (2.x; read only)
        │   └── tags/<tag>
        │       ├── current/link                          what the tag points at
        │       └── index/<alg>/<hex>/link                what it ever pointed at
        ├── _uploads/<uuid>
        │   ├── data                                      bytes so far
        │   ├── startedat                                 RFC 3339, UTC, whole seconds
      + │   └── data.parts                                a multipart upload under way (object stores)
      + ├── _referrers/<alg>/<hex>/<alg>/<hex>/link       subject, then the manifest that names it
      + └── _incomplete/<alg>/<hex>/link                  a manifest that waits for a push (`core.verification`)

A link holds a digest as text, without a newline. Names, tags and digests are value objects, so a key is legal by
construction. Distribution never enters a `_…` directory that it does not know. An entry of the trash is named
`<yyyymmddThhmmss.ffffffZ>-<kind>-<id>`, so that a listing tells when and what.
"""

from typing import Final
from urllib.parse import unquote

from core.digest import Digest
from core.names import RepositoryName, Tag

ROOT: Final = "/docker/registry/v2"
BLOBS: Final = f"{ROOT}/blobs"
REPOSITORIES: Final = f"{ROOT}/repositories"
UPLOADS_DIRECTORY: Final = "_uploads"
TRANSFERS: Final = f"{ROOT}/_transfers"
CONTROL: Final = f"{ROOT}/_control"
"""What processes on one store tell one another."""
READ_ONLY: Final = f"{CONTROL}/readonly"
"""While it is there, and its time has not passed, nothing is taken in."""
STORE_TIME: Final = f"{CONTROL}/time"
"""Whoever writes it learns the store's time."""
CLOCK: Final = f"{CONTROL}/clock"
"""When the store's time was last looked at, and which of it is in doubt."""
NOTIFICATIONS_QUEUED: Final = f"{ROOT}/_notifications/queued"
"""Its children are the endpoints that have events to come."""
NOTIFICATIONS_DEAD: Final = f"{ROOT}/_notifications/dead"
"""Its children are the endpoints that have dead letters."""
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
"""Bytes of an endpoint's name that stand for themselves in a key."""
COLLECTION_ROUNDS: Final = f"{CONTROL}/rounds"
SPARES: Final = f"{CONTROL}/spares"
DAMAGED: Final = f"{CONTROL}/damaged"
COLLECTION: Final = f"{CONTROL}/collection"
PULLS_SINCE: Final = f"{CONTROL}/pulls/since"
"""Its time is that from which on pulls are known without a gap."""
PULLS_LATEST: Final = f"{CONTROL}/pulls/latest"
"""Its time is when a process last showed that it records pulls."""
PULL_BATCHES: Final = f"{CONTROL}/pulls/batches"
TRASH: Final = f"{ROOT}/_trash"
TRASH_ENTRIES: Final = f"{TRASH}/entries"
HOUSEKEEPING: Final = (
    READ_ONLY,
    STORE_TIME,
    COLLECTION_ROUNDS,
    SPARES,
    f"{CONTROL}/leases",
    f"{CONTROL}/jobs",
    f"{CONTROL}/verifications",
    f"{ROOT}/_notifications",
    TRASH,
)
"""What deleting, collecting and verifying must write although the store is full. Checkpoints may be left out."""


def blob_directory(digest: Digest) -> str:
    """The directory of a blob, which garbage collection removes whole."""
    return f"{BLOBS}/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}"


def blob_data(digest: Digest) -> str:
    """The content itself."""
    return f"{blob_directory(digest)}/data"


def repository(name: RepositoryName) -> str:
    """All that a repository holds."""
    return f"{REPOSITORIES}/{name}"


def repository_path(path: str) -> str:
    """What lies where a repository lies, at a path that may be no repository's name."""
    return f"{REPOSITORIES}/{path}"


def layers(name: RepositoryName) -> str:
    """Below it lie the links of all blobs that a repository may read."""
    return f"{REPOSITORIES}/{name}/_layers"


def layer_link(name: RepositoryName, digest: Digest) -> str:
    """The record that a repository may read a blob."""
    return f"{layers(name)}/{digest.algorithm}/{digest.encoded}/link"


def manifests(name: RepositoryName) -> str:
    """Below it lie the manifests and tags of a repository."""
    return f"{REPOSITORIES}/{name}/_manifests"


def revisions(name: RepositoryName) -> str:
    """Below it lie the links of all manifests of a repository."""
    return f"{REPOSITORIES}/{name}/_manifests/revisions"


def revision(name: RepositoryName, digest: Digest) -> str:
    """The directory of a manifest's link."""
    return f"{revisions(name)}/{digest.algorithm}/{digest.encoded}"


def revision_link(name: RepositoryName, digest: Digest) -> str:
    """The record that a repository holds a manifest."""
    return f"{revision(name, digest)}/link"


def signatures(name: RepositoryName, digest: Digest) -> str:
    """Below it lie the links of a schema 1 manifest's signatures."""
    return f"{revision(name, digest)}/signatures"


def tags(name: RepositoryName) -> str:
    """Its children are the tags of a repository."""
    return f"{REPOSITORIES}/{name}/_manifests/tags"


def tag(name: RepositoryName, tag: Tag) -> str:
    """All that belongs to a tag."""
    return f"{tags(name)}/{tag}"


def tag_current_link(name: RepositoryName, tag: Tag) -> str:
    """What the tag points at."""
    return f"{tags(name)}/{tag}/current/link"


def tag_index_link(name: RepositoryName, tag: Tag, digest: Digest) -> str:
    """The record that the tag has pointed at a manifest."""
    return f"{tags(name)}/{tag}/index/{digest.algorithm}/{digest.encoded}/link"


def uploads(name: RepositoryName) -> str:
    """Its children are the upload sessions of a repository."""
    return f"{REPOSITORIES}/{name}/{UPLOADS_DIRECTORY}"


def upload(name: RepositoryName, upload_id: str) -> str:
    """All that belongs to an upload session."""
    return f"{uploads(name)}/{upload_id}"


def upload_data(name: RepositoryName, upload_id: str) -> str:
    """The staged bytes of an upload session."""
    return f"{upload(name, upload_id)}/data"


def upload_started_at(name: RepositoryName, upload_id: str) -> str:
    """When the session began; its presence is the session's existence."""
    return f"{upload(name, upload_id)}/startedat"


def subjects(name: RepositoryName) -> str:
    """Below it lie the links of all manifests that name a subject."""
    return f"{REPOSITORIES}/{name}/_referrers"


def referrers(name: RepositoryName, subject: Digest) -> str:
    """Below it lie the links of all manifests that name `subject`."""
    return f"{all_referrers(name)}/{subject.algorithm}/{subject.encoded}"


def incomplete(name: RepositoryName) -> str:
    """Below it lie the links of manifests that cannot be pulled: a repair took them out of the revisions."""
    return f"{REPOSITORIES}/{name}/_incomplete"


def incomplete_link(name: RepositoryName, digest: Digest) -> str:
    """The record that the repository held a manifest, and is to hold it again as soon as a push made it whole."""
    return f"{incomplete(name)}/{digest.algorithm}/{digest.encoded}/link"


def referrer_link(name: RepositoryName, subject: Digest, digest: Digest) -> str:
    """The record that the manifest `digest` names `subject`."""
    return f"{referrers(name, subject)}/{digest.algorithm}/{digest.encoded}/link"


def pull_batch(batch_id: str) -> str:
    """When some manifests were pulled, as one process saw it."""
    return f"{PULL_BATCHES}/{batch_id}"


def trash_entry_part(entry_id: str, part: int) -> str:
    """One part of the record of what was removed."""
    return f"{TRASH_ENTRIES}/{entry_id}.{part:06}"


def trash_blobs(digest: Digest) -> str:
    """Its children are the copies of blobs whose digests begin alike, as `<hex>.<entry>`.

    A folder of its own for each blob would stay in a folder's tree when the copies have gone.
    """
    return f"{TRASH}/blobs/{digest.algorithm}/{digest.encoded[:2]}"


def trash_blob_copy(digest: Digest, entry_id: str) -> str:
    """The content of a blob that was removed under an entry."""
    return f"{trash_blobs(digest)}/{digest.encoded}.{entry_id}"


def quarantined_copy(digest: Digest, entry_id: str) -> str:
    """Content that stood at a blob's key and was not that blob."""
    return f"{TRASH}/quarantine/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}.{entry_id}"


def is_manifest_link(key: str) -> bool:
    """Whether a key is that of a link to a manifest: of a revision or a tag."""
    return key.startswith(f"{REPOSITORIES}/") and "/_manifests/" in key and "/signatures/" not in key


def lease(job: str) -> str:
    """The object by which one of several replicas does a job: letters, digits and dashes name it."""
    return f"{CONTROL}/leases/{job}"


def endpoint_component(endpoint: str) -> str:
    """What an endpoint's name, which may be any text, is called in a key; `endpoint_of` undoes it."""
    return "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in endpoint.encode())


def endpoint_of(component: str) -> str:
    """The endpoint's name for its component of a key."""
    return unquote(component.replace("_", "%"))


def doctor(scratch_id: str) -> str:
    """What an examination writes and removes again: letters, digits and dashes name it."""
    return f"{CONTROL}/doctor/{scratch_id}"


def verification(scope: str) -> str:
    """All that a verification under way remembers: letters, digits and dashes name what it looks at."""
    return f"{CONTROL}/verifications/{scope}"


def verification_checkpoint(scope: str) -> str:
    """How far a verification has come."""
    return f"{verification(scope)}/checkpoint"


def verification_findings(scope: str, part: int) -> str:
    """A part of what it found so far."""
    return f"{verification(scope)}/findings/{part:06}"


def job(job: str) -> str:
    """The object that remembers when a job was done last, and what came of it."""
    return f"{CONTROL}/jobs/{job}"


def all_referrers(name: RepositoryName) -> str:
    """Below it lie the links of all referrers of a repository, subject by subject."""
    return f"{REPOSITORIES}/{name}/_referrers"


def collection_round(round_id: str) -> str:
    """All that a round of collection tells those who serve."""
    return f"{COLLECTION_ROUNDS}/{round_id}"


def collection_round_digests(round_id: str) -> str:
    """What the round is about to take; its presence is the round's existence."""
    return f"{collection_round(round_id)}/digests"


def collection_round_batch(round_id: str, batch: int) -> str:
    """The record that the round has begun to remove this batch, and is done with those before it."""
    return f"{collection_round(round_id)}/{batch:06}"


def collection_round_pulse(round_id: str) -> str:
    """Rewritten all the time by a collector that is alive."""
    return f"{collection_round(round_id)}/pulse"


def damage_record(digest: Digest) -> str:
    """The record that the data of a digest was found damaged."""
    return f"{DAMAGED}/{digest.algorithm}/{digest.encoded}"


def spare(digest: Digest) -> str:
    """The record that somebody relies on a digest that a round was about to take."""
    return f"{SPARES}/{digest.algorithm}/{digest.encoded}"


def collection_checkpoint(name: str) -> str:
    """A part of what a run of collection goes on from after a kill."""
    return f"{COLLECTION}/{name}"


def transfer(transfer_id: str) -> str:
    """All that a copy from another storage keeps here until it is done; letters, digits and dashes name it."""
    return f"{TRANSFERS}/{transfer_id}"


def transfer_data(transfer_id: str, digest: Digest) -> str:
    """The staged bytes of a blob that is being copied."""
    return f"{transfer(transfer_id)}/{digest.algorithm}/{digest.encoded}"


def transfer_marker(transfer_id: str) -> str:
    """An object by which a copy finds out whether both its storages are one."""
    return f"{transfer(transfer_id)}/marker"

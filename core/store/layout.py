"""Storage keys, and the tree of objects that they form.

The tree is that of distribution (2.x and 3.x), byte for byte. Lines marked `+` are extensions of this registry, in
places that distribution ignores.

    /docker/registry/v2
  + ├── _transfers/<id>/<alg>/<hex>                       a large blob being copied from another storage
  + ├── _notifications
  + │   ├── queued/<endpoint>/<event batch>               events to be delivered
  + │   └── dead/<endpoint>/<event>                       events whose delivery was given up
  + ├── _control
  + │   ├── readonly                                      the registry is read-only (`core.coordination.read_only`)
  + │   ├── clock                                         last observed store time, gaps (`core.store.clock`)
  + │   ├── time                                          written to obtain the store's time (`core.store.time`)
  + │   ├── rounds/<entry>/{digests,<batch>,pulse}        a collection round, named like its trash entry
  + │   ├── doctor/<id>/…                                 scratch objects of a running examination
  + │   ├── spares/<alg>/<hex>                            a digest that collection must keep
  + │   ├── damaged/<alg>/<hex>                           the state of damaged data (`core.store.damage`)
  + │   ├── collection/<part>                             checkpoint of a collection run
  + │   ├── leases/<job>                                  the replica that runs a job (`core.coordination.lease`)
  + │   ├── cache/{size,growth/<process>}                 size of the pull-through cache (`core.pull_through.usage`)
  + │   ├── usage                                         the last measurement of storage use (`core.usage`)
  + │   ├── jobs/<job>                                    the last run of a job (`core.coordination.schedule`)
  + │   ├── verifications/<scope>/…                       checkpoint and findings of a running verification
  + │   └── pulls/{since,latest,batches/<id>}             times of pulls (`core.retention.pulls`)
  + ├── _access/{keys,uses,users}/<id>                   API keys, external users (`core.store.access_key_objects`)
  + ├── _certificates/<scope>/…                          TLS certificates (`core.store.certificate_objects`)
  + ├── _trash
  + │   ├── entries/<entry>.<part>                        what one removal removed, in numbered parts
  + │   ├── blobs/<alg>/<hex[:2]>/<hex>.<entry>           content that was removed under that entry
  + │   └── quarantine/<alg>/<hex[:2]>/<hex>.<entry>      content that does not match its digest
    ├── blobs/<alg>/<hex[:2]>/<hex>/data                  content, addressed by its digest
    └── repositories/<name>
        ├── _layers/<alg>/<hex>/link                      the repository may read this blob
        ├── _manifests
        │   ├── revisions/<alg>/<hex>/link                the repository holds this manifest
        │   │   └── …/signatures/<alg>/<hex>/link         schema 1 signatures (2.x; read only)
        │   └── tags/<tag>
        │       ├── current/link                          the manifest that the tag points at
        │       └── index/<alg>/<hex>/link                a manifest that the tag has pointed at
        ├── _uploads/<uuid>
        │   ├── data                                      staged bytes
        │   ├── startedat                                 RFC 3339, UTC, whole seconds
      + │   └── data.parts                                a multipart upload in progress (object stores)
      + ├── _referrers/<alg>/<hex>/<alg>/<hex>/link       subject, then its referrer
      + ├── _incomplete/<alg>/<hex>/link                  a manifest to be pushed again (`core.verification`)
      + └── _upstream/tags/<tag>.json                     the last check of a cached tag (`core.pull_through`)

A link holds a digest as text, without a newline. Names, tags and digests are value objects, so every key is valid.
Distribution never enters unknown directories that begin with `_`. Trash: `<yyyymmddThhmmss.ffffffZ>-<kind>-<id>`.
"""

from typing import Final
from urllib.parse import unquote

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag

ROOT: Final = "/docker/registry/v2"
BLOBS: Final = f"{ROOT}/blobs"
REPOSITORIES: Final = f"{ROOT}/repositories"
MARK: Final = "_"
"""The first character of the directories of a repository, which no component of a name begins with."""
LAYERS_DIRECTORY: Final = "_layers"
MANIFESTS_DIRECTORY: Final = "_manifests"
REVISIONS_DIRECTORY: Final = f"{MANIFESTS_DIRECTORY}/revisions"
UPLOADS_DIRECTORY: Final = "_uploads"
_REFERRERS_DIRECTORY: Final = "_referrers"
_INCOMPLETE_DIRECTORY: Final = "_incomplete"
UPSTREAM_DIRECTORY: Final = "_upstream"
_OWN_DIRECTORIES: Final = {_REFERRERS_DIRECTORY, _INCOMPLETE_DIRECTORY, UPSTREAM_DIRECTORY}
REPOSITORY_DIRECTORIES: Final = frozenset({LAYERS_DIRECTORY, MANIFESTS_DIRECTORY, UPLOADS_DIRECTORY} | _OWN_DIRECTORIES)
"""The directories that a registry creates in a repository."""
LINK: Final = "/link"
"""The end of the key of every link."""
CURRENT_LINK: Final = f"/current{LINK}"
"""The end of the key of the link that makes a tag exist."""
_SIGNATURES: Final = "/signatures/"
TRANSFERS: Final = f"{ROOT}/_transfers"
CONTROL: Final = f"{ROOT}/_control"
"""Coordination of the processes on one store."""
READ_ONLY: Final = f"{CONTROL}/readonly"
"""While this object exists and has not expired, the registry accepts no changes."""
STORE_TIME: Final = f"{CONTROL}/time"
"""A process writes this object and reads its modification time to obtain the store's time."""
CLOCK: Final = f"{CONTROL}/clock"
"""The last observed store time, and the gaps in it."""
_LEASES: Final = f"{CONTROL}/leases"
_JOBS: Final = f"{CONTROL}/jobs"
_VERIFICATIONS: Final = f"{CONTROL}/verifications"
_NOTIFICATIONS: Final = f"{ROOT}/_notifications"
NOTIFICATIONS_QUEUED: Final = f"{_NOTIFICATIONS}/queued"
"""Its children are the endpoints that have events to deliver."""
NOTIFICATIONS_DEAD: Final = f"{_NOTIFICATIONS}/dead"
"""Its children are the endpoints that have dead letters."""
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
"""Bytes of an endpoint's name that are not escaped in a key."""
COLLECTION_ROUNDS: Final = f"{CONTROL}/rounds"
ROUND_DIGESTS: Final = "digests"
ROUND_PULSE: Final = "pulse"
PINS: Final = f"{CONTROL}/spares"
DAMAGED: Final = f"{CONTROL}/damaged"
COLLECTION: Final = f"{CONTROL}/collection"
PULLS_SINCE: Final = f"{CONTROL}/pulls/since"
"""Its modification time is the start of the gapless record of pulls."""
PULLS_LATEST: Final = f"{CONTROL}/pulls/latest"
"""Its modification time is the last time at which any process was known to record pulls."""
PULL_BATCHES: Final = f"{CONTROL}/pulls/batches"
_CACHE: Final = f"{CONTROL}/cache"
CACHE_SIZE: Final = f"{_CACHE}/size"
"""The measured size of the pull-through cache."""
CACHE_GROWTH: Final = f"{_CACHE}/growth"
"""Its children are the processes that store content in the cache."""
USAGE: Final = f"{CONTROL}/usage"
TRASH: Final = f"{ROOT}/_trash"
TRASH_ENTRIES: Final = f"{TRASH}/entries"
QUARANTINE: Final = f"{TRASH}/quarantine"
HOUSEKEEPING: Final = (
    READ_ONLY,
    STORE_TIME,
    COLLECTION_ROUNDS,
    PINS,
    _LEASES,
    _JOBS,
    _CACHE,
    USAGE,
    _VERIFICATIONS,
    _NOTIFICATIONS,
    TRASH,
)
"""Keys that deletion, collection and verification must write even if the store is full. Checkpoints are optional."""


def blob_directory(digest: Digest) -> str:
    """Return the directory of a blob, which garbage collection removes as a whole."""
    return f"{BLOBS}/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}"


def blob_data(digest: Digest) -> str:
    """Return the key of a blob's content."""
    return f"{blob_directory(digest)}/data"


def repository(name: RepositoryName) -> str:
    """Return the directory of a repository."""
    return f"{REPOSITORIES}/{name}"


def repository_path(path: str) -> str:
    """Return the directory at a path that need not be a valid repository name."""
    return f"{REPOSITORIES}/{path}"


def layers(name: RepositoryName) -> str:
    """Return the prefix of the links to all blobs that a repository may read."""
    return f"{REPOSITORIES}/{name}/{LAYERS_DIRECTORY}"


def layer_link(name: RepositoryName, digest: Digest) -> str:
    """Return the key of the link that lets a repository read a blob."""
    return f"{layers(name)}/{digest.algorithm}/{digest.encoded}/link"


def manifests(name: RepositoryName) -> str:
    """Return the prefix of a repository's manifests and tags."""
    return f"{REPOSITORIES}/{name}/{MANIFESTS_DIRECTORY}"


def revisions(name: RepositoryName) -> str:
    """Return the prefix of the links to all manifests of a repository."""
    return f"{REPOSITORIES}/{name}/{REVISIONS_DIRECTORY}"


def revision(name: RepositoryName, digest: Digest) -> str:
    """Return the directory of a manifest's link."""
    return f"{revisions(name)}/{digest.algorithm}/{digest.encoded}"


def revision_link(name: RepositoryName, digest: Digest) -> str:
    """Return the key of the link that makes a repository hold a manifest."""
    return f"{revision(name, digest)}/link"


def signatures(name: RepositoryName, digest: Digest) -> str:
    """Return the prefix of the links to a schema 1 manifest's signatures."""
    return f"{revision(name, digest)}/signatures"


def tags(name: RepositoryName) -> str:
    """Return the directory whose children are the tags of a repository."""
    return f"{manifests(name)}/tags"


def tag(name: RepositoryName, tag: Tag) -> str:
    """Return the directory of a tag."""
    return f"{tags(name)}/{tag}"


def tag_current_link(name: RepositoryName, tag: Tag) -> str:
    """Return the key of the link to the manifest that a tag points at."""
    return f"{tags(name)}/{tag}{CURRENT_LINK}"


def tag_index_link(name: RepositoryName, tag: Tag, digest: Digest) -> str:
    """Return the key of the link that records a manifest in a tag's history."""
    return f"{tags(name)}/{tag}/index/{digest.algorithm}/{digest.encoded}/link"


def uploads(name: RepositoryName) -> str:
    """Return the directory whose children are the upload sessions of a repository."""
    return f"{REPOSITORIES}/{name}/{UPLOADS_DIRECTORY}"


def upload(name: RepositoryName, upload_id: str) -> str:
    """Return the directory of an upload session."""
    return f"{uploads(name)}/{upload_id}"


def upload_data(name: RepositoryName, upload_id: str) -> str:
    """Return the key of an upload session's staged bytes."""
    return f"{upload(name, upload_id)}/data"


def upload_started_at(name: RepositoryName, upload_id: str) -> str:
    """Return the key of a session's start time; the session exists while this object does."""
    return f"{upload(name, upload_id)}/startedat"


def all_referrers(name: RepositoryName) -> str:
    """Return the prefix of the links to all referrers in a repository, grouped by subject."""
    return f"{REPOSITORIES}/{name}/{_REFERRERS_DIRECTORY}"


def referrers(name: RepositoryName, subject: Digest) -> str:
    """Return the prefix of the links to all referrers of `subject`."""
    return f"{all_referrers(name)}/{subject.algorithm}/{subject.encoded}"


def incomplete(name: RepositoryName) -> str:
    """Return the prefix of the links to manifests that a repair removed from the revisions; they cannot be pulled."""
    return f"{REPOSITORIES}/{name}/{_INCOMPLETE_DIRECTORY}"


def incomplete_link(name: RepositoryName, digest: Digest) -> str:
    """Return the key of the link to a manifest that the repository holds again once a push completes it."""
    return f"{incomplete(name)}/{digest.algorithm}/{digest.encoded}/link"


def referrer_link(name: RepositoryName, subject: Digest, digest: Digest) -> str:
    """Return the key of the link that makes the manifest `digest` a referrer of `subject`."""
    return f"{referrers(name, subject)}/{digest.algorithm}/{digest.encoded}/link"


def upstream(name: RepositoryName) -> str:
    """Return the prefix of what a cached repository records about its upstream."""
    return f"{REPOSITORIES}/{name}/{UPSTREAM_DIRECTORY}"


def upstream_tag(name: RepositoryName, tag: Tag) -> str:
    """Return the key of the record of a cached tag; the suffix sets the record of a tag `link` apart from links."""
    return f"{upstream(name)}/tags/{tag}.json"


def pull_batch(batch_id: str) -> str:
    """Return the key of a batch of pulls that one process recorded."""
    return f"{PULL_BATCHES}/{batch_id}"


def cache_growth(process: str) -> str:
    """Return the key of the number of bytes that a process has stored in the cache."""
    return f"{CACHE_GROWTH}/{process}"


def trash_entry_part(entry_id: str, part: int) -> str:
    """Return the key of one part of a trash entry."""
    return f"{TRASH_ENTRIES}/{entry_id}.{part:06}"


def trash_blobs(digest: Digest) -> str:
    """Return the directory of blob copies whose digests share a prefix; the children are `<hex>.<entry>`.

    With a folder per blob, empty folders would remain after the copies were removed.
    """
    return f"{TRASH}/blobs/{digest.algorithm}/{digest.encoded[:2]}"


def trash_blob_copy(digest: Digest, entry_id: str) -> str:
    """Return the key of a blob that was removed under an entry."""
    return f"{trash_blobs(digest)}/{digest.encoded}.{entry_id}"


def quarantined_copy(digest: Digest, entry_id: str) -> str:
    """Return the key of content that was stored as a blob but does not match its digest."""
    return f"{QUARANTINE}/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}.{entry_id}"


def is_manifest_link(key: str) -> bool:
    """Whether a key is that of a revision link or a tag link."""
    return key.startswith(f"{REPOSITORIES}/") and f"/{MANIFESTS_DIRECTORY}/" in key and not is_signature(key)


def is_revision_link(key: str) -> bool:
    """Whether a key below the revisions is that of a manifest's link."""
    return key.endswith(LINK) and not is_signature(key)


def is_signature(key: str) -> bool:
    """Whether a key belongs to a schema 1 signature."""
    return _SIGNATURES in key


def lease(job: str) -> str:
    """Return the key of the lease for a job, whose name consists of letters, digits and dashes."""
    return f"{_LEASES}/{job}"


def endpoint_component(endpoint: str) -> str:
    """Escape an endpoint's name, which may be any text, for use in a key; `endpoint_of` is the inverse."""
    return "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in endpoint.encode())


def endpoint_of(component: str) -> str:
    """Return the endpoint's name from its escaped form in a key."""
    return unquote(component.replace("_", "%"))


def doctor(scratch_id: str) -> str:
    """Return the prefix of an examination's scratch objects; the id consists of letters, digits and dashes."""
    return f"{CONTROL}/doctor/{scratch_id}"


def verification(scope: str) -> str:
    """Return the prefix of a verification's state; the scope consists of letters, digits and dashes."""
    return f"{_VERIFICATIONS}/{scope}"


def verification_checkpoint(scope: str) -> str:
    """Return the key of a verification's checkpoint."""
    return f"{verification(scope)}/checkpoint"


def verification_findings(scope: str, part: int) -> str:
    """Return the key of one part of a verification's findings."""
    return f"{verification(scope)}/findings/{part:06}"


def job(job: str) -> str:
    """Return the key of the object that records the time and result of a job's last run."""
    return f"{_JOBS}/{job}"


def collection_round(round_id: str) -> str:
    """Return the prefix of a collection round's objects, which serving processes read."""
    return f"{COLLECTION_ROUNDS}/{round_id}"


def collection_round_digests(round_id: str) -> str:
    """Return the key of the digests that a round is about to remove; the round exists while this object does."""
    return f"{collection_round(round_id)}/{ROUND_DIGESTS}"


def collection_round_batch(round_id: str, batch: int) -> str:
    """Return the key of the record that a round began to remove this batch and finished the earlier ones."""
    return f"{collection_round(round_id)}/{batch:06}"


def collection_round_pulse(round_id: str) -> str:
    """Return the key of a collector's heartbeat, which a running collector rewrites continuously."""
    return f"{collection_round(round_id)}/{ROUND_PULSE}"


def damage_record(digest: Digest) -> str:
    """Return the key of the record that the data of a digest is damaged."""
    return f"{DAMAGED}/{digest.algorithm}/{digest.encoded}"


def pin(digest: Digest) -> str:
    """Return the key of the record that a digest is in use although a round was about to remove it."""
    return f"{PINS}/{digest.algorithm}/{digest.encoded}"


def collection_checkpoint(name: str) -> str:
    """Return the key of one part of the checkpoint from which a killed collection run continues."""
    return f"{COLLECTION}/{name}"


def transfer(transfer_id: str) -> str:
    """Return the prefix of a copy's staged objects; the id consists of letters, digits and dashes."""
    return f"{TRANSFERS}/{transfer_id}"


def transfer_data(transfer_id: str, digest: Digest) -> str:
    """Return the key of the staged bytes of a blob that is being copied."""
    return f"{transfer(transfer_id)}/{digest.algorithm}/{digest.encoded}"


def transfer_marker(transfer_id: str) -> str:
    """Return the key of an object that shows whether source and target of a copy are the same storage."""
    return f"{transfer(transfer_id)}/marker"

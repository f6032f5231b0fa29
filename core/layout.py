"""Every storage key. Nothing else in the project spells one.

The tree is distribution's (2.x and 3.x), byte for byte; lines marked `+` are ours, where it does not look.

    /docker/registry/v2
  + ├── _control/leases/<job>                             which of several replicas does a job (`core.lease`)
  + ├── _notifications
  + │   ├── queued/<endpoint>/<event batch>               events that are still to be delivered
  + │   └── dead/<endpoint>/<event>                       events that were given up
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
      + └── _referrers/<alg>/<hex>/<alg>/<hex>/link       subject, then the manifest that names it

A link holds a digest as text, without a newline. Names, tags and digests are value objects, so a key is legal by
construction. Distribution never enters a `_…` directory that it does not know.
"""

from typing import Final
from urllib.parse import unquote

from core.digest import Digest
from core.names import RepositoryName, Tag

ROOT: Final = "/docker/registry/v2"
BLOBS: Final = f"{ROOT}/blobs"
REPOSITORIES: Final = f"{ROOT}/repositories"
CONTROL: Final = f"{ROOT}/_control"
"""What processes on one store tell one another."""
NOTIFICATIONS_QUEUED: Final = f"{ROOT}/_notifications/queued"
"""Its children are the endpoints that have events to come."""
NOTIFICATIONS_DEAD: Final = f"{ROOT}/_notifications/dead"
"""Its children are the endpoints that have dead letters."""
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
"""Bytes of an endpoint's name that stand for themselves in a key."""


def blob_directory(digest: Digest) -> str:
    """The directory of a blob, which garbage collection removes whole."""
    return f"{BLOBS}/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}"


def blob_data(digest: Digest) -> str:
    """The content itself."""
    return f"{blob_directory(digest)}/data"


def repository(name: RepositoryName) -> str:
    """All that a repository holds."""
    return f"{REPOSITORIES}/{name}"


def layer_link(name: RepositoryName, digest: Digest) -> str:
    """The record that a repository may read a blob."""
    return f"{REPOSITORIES}/{name}/_layers/{digest.algorithm}/{digest.encoded}/link"


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
    return f"{REPOSITORIES}/{name}/_uploads"


def upload(name: RepositoryName, upload_id: str) -> str:
    """All that belongs to an upload session."""
    return f"{uploads(name)}/{upload_id}"


def upload_data(name: RepositoryName, upload_id: str) -> str:
    """The staged bytes of an upload session."""
    return f"{upload(name, upload_id)}/data"


def upload_started_at(name: RepositoryName, upload_id: str) -> str:
    """When the session began; its presence is the session's existence."""
    return f"{upload(name, upload_id)}/startedat"


def referrers(name: RepositoryName, subject: Digest) -> str:
    """Below it lie the links of all manifests that name `subject`."""
    return f"{REPOSITORIES}/{name}/_referrers/{subject.algorithm}/{subject.encoded}"


def referrer_link(name: RepositoryName, subject: Digest, digest: Digest) -> str:
    """The record that the manifest `digest` names `subject`."""
    return f"{referrers(name, subject)}/{digest.algorithm}/{digest.encoded}/link"


def lease(job: str) -> str:
    """The object by which one of several replicas does a job: letters, digits and dashes name it."""
    return f"{CONTROL}/leases/{job}"


def endpoint_component(endpoint: str) -> str:
    """What an endpoint's name, which may be any text, is called in a key; `endpoint_of` undoes it."""
    return "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in endpoint.encode())


def endpoint_of(component: str) -> str:
    """The endpoint's name for its component of a key."""
    return unquote(component.replace("_", "%"))

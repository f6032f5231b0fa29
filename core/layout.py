"""Every storage key. Nothing else in the project spells one.

The tree is distribution's (2.x and 3.x), byte for byte; lines marked `+` are ours, where it does not look.

    /docker/registry/v2
  + ├── _control
  + │   ├── readonly                                      the registry is read-only (`core.read_only`)
  + │   ├── time                                          written to learn the store's time (`core.store_time`)
  + │   ├── leases/<job>                                  which of several replicas does a job (`core.lease`)
  + │   └── jobs/<job>                                    when it was done last (`core.schedule`)
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

from core.digest import Digest
from core.names import RepositoryName, Tag

ROOT: Final = "/docker/registry/v2"
BLOBS: Final = f"{ROOT}/blobs"
REPOSITORIES: Final = f"{ROOT}/repositories"
UPLOADS_DIRECTORY: Final = "_uploads"
CONTROL: Final = f"{ROOT}/_control"
"""What processes on one store tell one another."""
READ_ONLY: Final = f"{CONTROL}/readonly"
"""While it is there, and its time has not passed, nothing is taken in."""
STORE_TIME: Final = f"{CONTROL}/time"
"""Whoever writes it learns the store's time."""


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


def referrers(name: RepositoryName, subject: Digest) -> str:
    """Below it lie the links of all manifests that name `subject`."""
    return f"{REPOSITORIES}/{name}/_referrers/{subject.algorithm}/{subject.encoded}"


def referrer_link(name: RepositoryName, subject: Digest, digest: Digest) -> str:
    """The record that the manifest `digest` names `subject`."""
    return f"{referrers(name, subject)}/{digest.algorithm}/{digest.encoded}/link"


def lease(job: str) -> str:
    """The object by which one of several replicas does a job: letters, digits and dashes name it."""
    return f"{CONTROL}/leases/{job}"


def job(job: str) -> str:
    """The object that remembers when a job was done last, and what came of it."""
    return f"{CONTROL}/jobs/{job}"

"""The names of the jobs that one of all replicas runs, as in the keys of their leases and records.

Apart from the jobs: a process that only schedules a job, or reports on it, needs no more than its name.
"""

from typing import Final

COLLECTION: Final = "collect-garbage"
EVICTION: Final = "evict-cache"
FOLDING: Final = "fold-summaries"
USAGE: Final = "measure-usage"

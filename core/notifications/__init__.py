"""Notifications: events are recorded durably, then delivered to each endpoint at least once, in order per repository.

    recorder   accepts events (`EventSink`), drops those that no endpoint wants, and records them in groups
    outbox     undelivered events and dead letters: objects in a `BlobStorage`
    delivery   delivery to one endpoint: order, retries, backoff, dead letters
    notifier   delivery by one of several processes: the lease, deliveries, upkeep, statistics
    envelope   the exact bytes that are sent

The outbox lies in a `BlobStorage`: the registry's own, or a folder on the same machine. There is thus one way to record
events, and every storage that fulfils the port's contract can hold them.
"""

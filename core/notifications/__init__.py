"""Notifications: events are recorded durably, then delivered to each endpoint at least once, in order per repository.

    recorder   takes events in (`EventSink`), drops what nobody wants, and records many together
    outbox     what is still to be delivered, and dead letters: objects in a `BlobStorage`
    courier    delivers to one endpoint: order, retries, backoff, what becomes a dead letter
    notifier   one of several processes delivers: the lease, the couriers, upkeep, the numbers
    envelope   what is sent, to the byte

The outbox is objects in some `BlobStorage` (the registry's own, or a folder of this machine): so there is one way to
record, and every storage that keeps its promises is a place for it.
"""

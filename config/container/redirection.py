"""Construction of the redirector from the middlewares of the storage."""

from adapters.blob_storage.s3 import S3Options
from adapters.redirection.base_url import BaseUrlRedirector
from adapters.redirection.rewriting import RewritingRedirector
from adapters.redirection.store import StoreRedirector
from config.settings import IpFilter, Settings, StorageKind, StorageMiddleware, StorageMiddlewareName
from core.ports.blob_storage import BlobStorage
from core.ports.redirection import Redirector


def make_redirector(settings: Settings, storage: BlobStorage) -> Redirector | None:
    """Return the redirector that the middlewares make, each around the earlier ones; None if there is none."""
    middlewares = settings.middleware.redirecting
    if not middlewares or settings.storage.redirect_disabled:
        return None
    of_store = StoreRedirector(storage)
    redirector: Redirector = of_store
    for each in middlewares:
        options = each.options
        if each.name is StorageMiddlewareName.REDIRECT:
            redirector = BaseUrlRedirector(options.base_url)
        elif each.name is StorageMiddlewareName.REWRITE:
            redirector = RewritingRedirector(
                redirector, scheme=options.scheme, host=options.host, trim_path_prefix=options.trim_path_prefix
            )
        elif settings.storage.kind is StorageKind.S3 and redirector is of_store:
            redirector = _cloudfront(each, of_store, settings.storage.s3)
    return redirector


def _cloudfront(middleware: StorageMiddleware, inner: Redirector, bucket: S3Options) -> Redirector:
    # Imported only when needed, as it loads an HTTP client and cryptography.
    from adapters.redirection.aws_networks import AwsNetworks  # noqa: PLC0415
    from adapters.redirection.cloudfront import CloudFrontRedirector  # noqa: PLC0415

    options = middleware.options
    networks = None
    if options.ip_filter is not IpFilter.NONE:
        regions = options.regions if options.ip_filter is IpFilter.AWS_REGION else ()
        networks = AwsNetworks(options.ip_ranges_url, regions=regions, every_seconds=options.update_seconds)
    return CloudFrontRedirector(
        inner,
        base_url=options.cloudfront_url,
        store_key=bucket.store_key,
        key_pair_id=options.key_pair_id,
        private_key=options.private_key,
        validity_seconds=options.validity_seconds,
        networks=networks,
    )

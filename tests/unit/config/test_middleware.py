"""The middlewares of the storage, in distribution's spelling."""

import pytest

from config.container.redirection import make_redirector
from config.settings import IpFilter, StorageMiddleware
from core.model.events import UNNAMED
from core.ports.redirection import Redirector
from tests.support.configuration import MINIMAL, LoadText, problems_of
from tests.support.core_services import CoreServices

DISTRIBUTIONS_EXAMPLE = """
middleware:
  storage:
    - name: cloudfront
      options:
        baseurl: https://my.cloudfronted.domain.com/
        privatekey: /path/to/pem
        keypairid: cloudfrontkeypairid
        duration: 3000s
        ipfilteredby: awsregion
        awsregion: us-east-1, use-east-2
        updatefrequency: 12h
        iprangesurl: https://ip-ranges.amazonaws.com/ip-ranges.json
"""
S3 = "version: 0.1\nstorage: {s3: {region: us-east-1, bucket: images}}\n"
NO_REDIRECTS = "version: 0.1\nstorage: {s3: {region: r, bucket: b}, redirect: {disable: true}}\n"
CLOUDFRONT = "{name: cloudfront, options: {baseurl: cdn.example.com, privatekey: k, keypairid: APKA"


def storage_of(load_text: LoadText, text: str) -> tuple[StorageMiddleware, ...]:
    return load_text(text).settings.middleware.storage


def redirector_of(load_text: LoadText, text: str) -> Redirector | None:
    return make_redirector(load_text(text).settings, CoreServices().storage)


async def url_of(load_text: LoadText, entries: str) -> str | None:
    redirector = redirector_of(load_text, f"{MINIMAL}middleware: {{storage: [{entries}]}}\n")
    assert redirector is not None
    return await redirector.url("/docker/x", by=UNNAMED)


def test_the_example_of_distribution_is_accepted(load_text: LoadText) -> None:
    loaded = load_text(S3 + DISTRIBUTIONS_EXAMPLE)
    [middleware] = loaded.settings.middleware.storage
    options = middleware.options
    assert loaded.warnings == ()
    assert (options.cloudfront_url, options.validity_seconds) == ("https://my.cloudfronted.domain.com/", 3000)
    assert (options.ip_filter, options.regions) == (IpFilter.AWS_REGION, ("us-east-1", "use-east-2"))
    assert options.update_seconds == 12 * 3600
    assert redirector_of(load_text, S3 + DISTRIBUTIONS_EXAMPLE) is not None


@pytest.mark.parametrize(
    ("options", "seconds"),
    [("", 1200), (", duration: 3000", 1200), (", duration: 3000s", 3000), (", duration: 1m30s", 90)],
)
def test_number_without_a_unit_means_the_default(load_text: LoadText, options: str, seconds: float) -> None:
    [middleware] = storage_of(load_text, f"{S3}middleware: {{storage: [{CLOUDFRONT}{options}}}}}]}}\n")
    assert middleware.options.validity_seconds == seconds
    assert middleware.options.cloudfront_url == "https://cdn.example.com/"


@pytest.mark.parametrize(("text", "seconds"), [("updatefrenquency: 6h", 21_600), ("updatefrequency: 1s", 60)])
def test_update_frequency(load_text: LoadText, text: str, seconds: float) -> None:
    entry = f"{CLOUDFRONT}, ipfilteredby: AWS, {text}}}}}"
    [middleware] = storage_of(load_text, f"{S3}middleware: {{storage: [{entry}]}}\n")
    assert (middleware.options.update_seconds, middleware.options.ip_filter) == (seconds, IpFilter.AWS)
    assert redirector_of(load_text, f"{S3}middleware: {{storage: [{entry}]}}\n") is not None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{name: cloudfornt}", "storage[0].name` must be one of redirect, cloudfront, rewrite, alicdn"),
        ("{options: {baseurl: b}}", "storage[0].name` is missing"),
        ("{name: redirect}", "options.baseurl` is missing"),
        ("{name: redirect, options: {baseurl: cdn}}", "options.baseurl` must begin with http:// or https://"),
        ("{name: redirect, options: {baseurl: 'https://u:p@cdn'}}", "options.baseurl` must not contain a user"),
        ("{name: cloudfront, options: {baseurl: a, privatekey: k}}", "options.keypairid` is missing"),
        ("{name: cloudfront, options: {baseurl: a, keypairid: k}}", "options.privatekey` is missing"),
        (f"{CLOUDFRONT}, duration: 0s}}}}", "options.duration` must be a duration of at least 1s"),
        (f"{CLOUDFRONT}, duration: '3000 s'}}}}", "options.duration` must be a duration of at least 1s"),
        (f"{CLOUDFRONT}&b=c}}}}", "options.keypairid` must be the id of a public key"),
        (f"{CLOUDFRONT}, ipfilteredby: some}}}}", "options.ipfilteredby` must be one of none, aws, awsregion"),
        (f"{CLOUDFRONT}, ipfilteredby: awsregion}}}}", "options.awsregion` is missing: `ipfilteredby` is awsregion"),
        (f"{CLOUDFRONT}, iprangesurl: 'file:///etc/x'}}}}", "options.iprangesurl` must be a URL"),
        ("{name: rewrite, options: {scheme: ftp}}", "options.scheme` must be http or https"),
        ("{name: rewrite, options: {host: 'a/b'}}", "options.host` must be `host` or `host:port`"),
        ("{name: rewrite, options: {trimpathprefix: a}}", "options.trimpathprefix` must be a path"),
    ],
)
def test_wrong_options_are_refused(load_text: LoadText, entry: str, problem: str) -> None:
    found = problems_of(load_text, f"{S3}middleware: {{storage: [{entry}]}}\n")
    assert any(problem in each for each in found), found


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (f"{MINIMAL}middleware: {{storage: [{CLOUDFRONT}}}}}]}}\n", "it works with `storage.s3` only"),
        (
            f"{S3}middleware: {{storage: [{{name: redirect, options: {{baseurl: 'http://a'}}}}, {CLOUDFRONT}}}}}]}}\n",
            "`middleware.storage[1]`: cloudfront has no effect after another middleware",
        ),
        (
            f"{NO_REDIRECTS}middleware: {{storage: [{CLOUDFRONT}}}}}]}}\n",
            "cloudfront has no effect, because `storage.redirect.disable` is true",
        ),
        (f"{MINIMAL}middleware: {{storage: [{{name: alicdn}}]}}\n", "alicdn is not supported by this version"),
    ],
    ids=["driver", "order", "no redirects", "alicdn"],
)
def test_middleware_without_effect_is_warned_about(load_text: LoadText, text: str, warning: str) -> None:
    [found] = load_text(text).warnings
    assert warning in found


def test_disabled_middleware_is_off(load_text: LoadText) -> None:
    text = f"{S3}middleware: {{storage: [{{name: cloudfront, disabled: true}}]}}\n"
    assert load_text(text).warnings == ()
    assert redirector_of(load_text, text) is None


def test_without_redirects_there_is_no_redirector(load_text: LoadText) -> None:
    text = f"{NO_REDIRECTS}middleware: {{storage: [{{name: redirect, options: {{baseurl: 'http://a'}}}}]}}\n"
    assert redirector_of(load_text, text) is None


async def test_later_middlewares_change_the_urls_of_earlier_ones(load_text: LoadText) -> None:
    redirect = "{name: redirect, options: {baseurl: 'http://a/b'}}"
    rewrite = "{name: rewrite, options: {host: c}}"
    assert await url_of(load_text, redirect) == "http://a/b/docker/x"
    assert await url_of(load_text, f"{redirect}, {rewrite}") == "http://c/b/docker/x"
    assert await url_of(load_text, f"{rewrite}, {redirect}") == "http://a/b/docker/x"
    assert await url_of(load_text, f"{redirect}, {CLOUDFRONT}}}}}") == "http://a/b/docker/x"
    assert await url_of(load_text, f"{CLOUDFRONT}}}}}") is None

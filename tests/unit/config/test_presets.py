"""The drivers gcs, oss and swift, in distribution's spelling, as presets of the S3 adapter."""

import pytest

from adapters.blob_storage.s3.options import MIB
from config.container import build_store
from config.settings import StorageKind
from core.model.secret import reveal
from tests.support.configuration import LoadText, problems_of, shown

GCS = "{bucket: b, keyfile: /key.json, rootdirectory: /r/, chunksize: 5242880, maxconcurrency: 60"
OSS = "{accesskeyid: i, accesskeysecret: s, region: oss-cn-hangzhou, bucket: b"
SWIFT = "{username: u, password: p, authurl: 'https://k', container: c, region: r, secretkey: hunter2, prefix: /x"
HMAC = ", accesskey: GOOG1E, secretkey: hmac}"
EC2 = ", ec2accesskey: a, ec2secretkey: s, s3endpoint: 'https://swift:8080'}"


def storage(driver: str, section: str) -> str:
    return f"version: 0.1\nstorage: {{{driver}: {section}}}\n"


def test_google_is_reached_by_an_hmac_key(load_text: LoadText) -> None:
    loaded = load_text(storage("gcs", GCS + HMAC))
    bucket = loaded.settings.storage.bucket
    assert bucket is not None
    assert (bucket.region_endpoint, bucket.region, bucket.force_path_style) == (
        "https://storage.googleapis.com",
        "auto",
        True,
    )
    assert (bucket.access_key, reveal(bucket.secret_key)) == ("GOOG1E", "hmac")
    assert bucket.store_key("/docker/registry/v2") == "r/docker/registry/v2"
    assert (bucket.chunk_bytes, bucket.connections_max, bucket.storage_class) == (5 * MIB, 60, None)
    assert "hmac" not in str(shown(loaded))
    assert loaded.warnings == ()
    assert [note.split("`")[1] for note in loaded.notes] == ["storage.gcs.keyfile"]


def test_small_limits_of_google_are_raised(load_text: LoadText) -> None:
    bucket = load_text(
        storage("gcs", f"{{bucket: b, chunksize: 262144, maxconcurrency: 1{HMAC}")
    ).settings.storage.bucket
    assert bucket is not None
    assert (bucket.chunk_bytes, bucket.connections_max) == (5 * MIB, 25)


@pytest.mark.parametrize(
    ("driver", "section", "problems"),
    [
        (
            "gcs",
            GCS + "}",
            [
                "`storage.gcs.accesskey` is missing; `keyfile` and `credentials` cannot replace it: create an HMAC key",
                "`storage.gcs.secretkey` is missing",
            ],
        ),
        ("gcs", "", ["`storage.gcs.bucket` is missing"]),
        ("oss", "{region: oss-cn-hangzhou, bucket: b}", ["`storage.oss.accesskeyid` is missing; set it in the file"]),
        ("oss", OSS + ", chunksize: 1}", ["`storage.oss.chunksize` must be"]),
        ("oss", OSS.replace("oss-cn-hangzhou", "https://x") + "}", ["`storage.oss.region` must be a region of OSS"]),
        (
            "swift",
            SWIFT + "}",
            [
                "`storage.swift.ec2accesskey` is missing; create a pair with `openstack ec2 credentials create`",
                "`storage.swift.s3endpoint` is missing; it is the URL of Swift's proxy",
            ],
        ),
        ("swift", SWIFT + EC2.replace("https://", ""), ["`storage.swift.s3endpoint` must be a URL"]),
    ],
)
def test_unusable_sections_are_refused_with_the_remedy(
    load_text: LoadText, driver: str, section: str, problems: list[str]
) -> None:
    found = problems_of(load_text, storage(driver, section))
    for problem in problems:
        assert any(problem in each for each in found), found


@pytest.mark.parametrize(
    ("more", "host"),
    [
        ("}", "https://s3.oss-cn-hangzhou.aliyuncs.com"),
        (", internal: true}", "https://s3.oss-cn-hangzhou-internal.aliyuncs.com"),
        (", secure: false}", "http://s3.oss-cn-hangzhou.aliyuncs.com"),
        (", endpoint: b.oss-cn-hangzhou.aliyuncs.com}", "https://oss-cn-hangzhou.aliyuncs.com"),
        (", endpoint: 'http://b.store:8080'}", "http://store:8080"),
    ],
)
def test_endpoint_of_oss(load_text: LoadText, more: str, host: str) -> None:
    bucket = load_text(storage("oss", OSS + more)).settings.storage.bucket
    assert bucket is not None
    assert bucket.url(bucket.region_endpoint) == host
    assert (bucket.region, bucket.force_path_style) == ("cn-hangzhou", False)


def test_swift_keeps_the_keys_of_its_objects(load_text: LoadText) -> None:
    loaded = load_text(storage("swift", SWIFT + EC2))
    bucket = loaded.settings.storage.bucket
    assert bucket is not None
    assert bucket.store_key("/docker/registry/v2") == "x/files/docker/registry/v2"
    assert (bucket.bucket, bucket.region, bucket.chunk_bytes) == ("c", "us-east-1", 20 * MIB)
    assert loaded.warnings == ()
    assert "storage.swift.password" in str(loaded.notes)
    assert "hunter2" not in str(shown(loaded))
    without = load_text(storage("swift", "{container: c" + EC2)).settings.storage.bucket
    assert without is not None
    assert without.store_key("/docker") == "files/docker"


@pytest.mark.parametrize(("driver", "section"), [("gcs", GCS + HMAC), ("oss", OSS + "}"), ("swift", SWIFT + EC2)])
def test_preset_builds_its_store(load_text: LoadText, driver: str, section: str) -> None:
    settings = load_text(storage(driver, section)).settings
    assert settings.storage.kind is StorageKind(driver)
    assert build_store(settings).storage.name == driver

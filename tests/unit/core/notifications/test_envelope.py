"""Events are what Debian's docker-registry (distribution 2.8) sends, to the byte."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from core.model.digest import Digest
from core.model.events import EventAction, Occurrence, Origin
from core.model.media_types import OCI_MANIFEST
from core.notifications.envelope import EnvelopeType, event_document, references_of, render_envelope

# Captured from Debian's docker-registry; ids, times and addresses are made round.
PULL = rb"""{
   "events": [
      {
         "id": "279561d5-00a0-447b-b7a1-983706be944a",
         "timestamp": "2026-11-24T21:54:22.689303Z",
         "action": "pull",
         "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 401,
            "digest": "sha256:e90f8ab0b762a460b26bd77e5018ffe087c60ee3bcb168bc5d4eca75091d4b76",
            "length": 401,
            "repository": "a/b",
            "url": "http://127.0.0.1:5000/v2/a/b/manifests/sha256:e90f8ab0b762a460b26bd77e5018ffe087c60ee3bcb168bc5d4eca75091d4b76",
            "tag": "v1",
            "references": [
               {
                  "mediaType": "application/vnd.oci.image.config.v1+json",
                  "size": 240,
                  "digest": "sha256:592e4b3ade1f91afbc53e0bad9d3fbbe326324218e364509622bd4f073dd89f5"
               },
               {
                  "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                  "size": 379,
                  "digest": "sha256:d7db25007adc4ed598cbfa5b3bbfa029b4b1bcd8dd3862d66a94a1fd74c50a56"
               }
            ]
         },
         "request": {
            "id": "5396af64-d73b-444a-a795-ab5e12ff983d",
            "addr": "127.0.0.1:47138",
            "host": "127.0.0.1:5000",
            "method": "GET",
            "useragent": "x\u003c\u0026\u003e\ufffd"
         },
         "actor": {
            "name": "bob"
         },
         "source": {
            "addr": "vm:5000",
            "instanceID": "0338a624-44d9-48bc-9084-78082729d997"
         }
      }
   ]
}"""
TAG_DELETED = rb"""{
   "events": [
      {
         "id": "c8047df2-88af-4d99-ba3f-8f3c20df681e",
         "timestamp": "2026-11-24T21:54:22Z",
         "action": "delete",
         "target": {
            "repository": "a/b",
            "tag": "v1"
         },
         "request": {
            "id": "",
            "method": "",
            "useragent": ""
         },
         "actor": {},
         "source": {
            "addr": "vm:5000",
            "instanceID": "0338a624-44d9-48bc-9084-78082729d997"
         }
      }
   ]
}"""
SOURCE = {"addr": "vm:5000", "instanceID": "0338a624-44d9-48bc-9084-78082729d997"}
DIGEST = Digest("sha256:e90f8ab0b762a460b26bd77e5018ffe087c60ee3bcb168bc5d4eca75091d4b76")
CONFIG = {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "sha256:592e4b3ade1f91afbc53e0bad9d3fbbe326324218e364509622bd4f073dd89f5",
    "size": 240,
}
LAYER = {
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "digest": "sha256:d7db25007adc4ed598cbfa5b3bbfa029b4b1bcd8dd3862d66a94a1fd74c50a56",
    "size": 379,
}
MOMENT = datetime(2026, 11, 24, 21, 54, 22, tzinfo=UTC)


NO_REQUEST = Origin()


def document(occurrence, origin=NO_REQUEST, *, event_id="id", moment=MOMENT, envelope=EnvelopeType.V1):
    return event_document(occurrence, origin, event_id=event_id, happened_at=moment, source=SOURCE, envelope=envelope)


def test_pull_event_equals_that_of_distribution():
    occurrence = Occurrence(
        action=EventAction.PULL,
        repository="a/b",
        digest=DIGEST,
        media_type=OCI_MANIFEST,
        size=401,
        tag="v1",
        url=f"http://127.0.0.1:5000/v2/a/b/manifests/{DIGEST}",
        references=references_of(json.dumps({"config": CONFIG, "layers": [LAYER]}).encode()),
    )
    origin = Origin(
        request_id="5396af64-d73b-444a-a795-ab5e12ff983d",
        address="127.0.0.1:47138",
        host="127.0.0.1:5000",
        method="GET",
        user_agent="x<&>\udcfc",
        actor="bob",
    )
    told = document(
        occurrence,
        origin,
        event_id="279561d5-00a0-447b-b7a1-983706be944a",
        moment=MOMENT + timedelta(microseconds=689303),
    )
    assert render_envelope(told) == PULL
    # It survives being recorded.
    assert render_envelope(json.loads(json.dumps(told))) == PULL


def test_event_of_a_deleted_tag_equals_that_of_distribution():
    occurrence = Occurrence(action=EventAction.DELETE, repository="a/b", tag="v1")
    assert render_envelope(document(occurrence, event_id="c8047df2-88af-4d99-ba3f-8f3c20df681e")) == TAG_DELETED


def test_version_2_has_oci_order_and_empty_members():
    occurrence = Occurrence(action=EventAction.DELETE, repository="a/b", tag="v1")
    target = document(occurrence, envelope=EnvelopeType.V2)["target"]
    assert list(target.items()) == [
        ("mediaType", ""),
        ("digest", ""),
        ("size", 0),
        ("repository", "a/b"),
        ("tag", "v1"),
    ]
    references = references_of(json.dumps({"config": CONFIG}).encode())
    pushed = Occurrence(
        action=EventAction.PUSH, repository="a/b", digest=DIGEST, media_type="m", size=1, references=references
    )
    [config] = document(pushed, envelope=EnvelopeType.V2)["target"]["references"]
    assert list(config) == ["mediaType", "digest", "size"]


def test_references_of_an_index_keep_platforms():
    child: dict[str, Any] = CONFIG | {
        "annotations": {"b": "1"},
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "unknown": "x"},
        "artifactType": "not in distribution's descriptors",
    }
    [reference] = references_of(json.dumps({"manifests": [child]}).encode())
    assert list(reference) == ["mediaType", "size", "digest", "annotations", "platform"]
    assert json.dumps(reference["platform"]) == '{"architecture": "arm", "os": "linux", "variant": "v7"}'


def test_references_of_a_manifest_without_layers():
    assert references_of(b'{"layers": null, "manifests": null}') == ()


def test_references_of_an_artifact_manifest_are_its_blobs():
    [reference] = references_of(json.dumps({"blobs": [LAYER]}).encode())
    assert reference["digest"] == LAYER["digest"]


@pytest.mark.parametrize(
    "members", [{"config": "x"}, {"manifests": {"a": 1}}, {"layers": [1, None, "x"]}, {"blobs": 7}]
)
def test_members_that_are_no_descriptors_are_no_references(members):
    """A store holds manifests of types that no client may push, with members of any shape."""
    assert references_of(json.dumps(members).encode()) == ()


@pytest.mark.parametrize("code_point", [0xD800, 0xDFFF])
def test_text_that_cannot_be_encoded_is_sent_with_a_replacement(code_point):
    half = chr(code_point)
    layer = LAYER | {"annotations": {f"a{half}": f"b{half}"}, "urls": [f"u{half}"], "mediaType": f"m{half}"}
    occurrence = Occurrence(
        action=EventAction.PULL,
        repository="a/b",
        references=references_of(json.dumps({"layers": [layer]}).encode()),
    )
    origin = Origin(request_id="", address="", host=f"h{half}", method="GET", user_agent=f"c{half}", actor=f"n{half}")
    [event] = json.loads(render_envelope(document(occurrence, origin)))["events"]
    [reference] = event["target"]["references"]
    assert reference["annotations"] == {"a\ufffd": "b\ufffd"}
    assert (reference["urls"], reference["mediaType"]) == (["u\ufffd"], "m\ufffd")
    assert (event["request"]["host"], event["request"]["useragent"]) == ("h\ufffd", "c\ufffd")
    assert event["actor"]["name"] == "n\ufffd"


@pytest.mark.parametrize(
    ("microseconds", "text"), [(0, "22Z"), (100_000, "22.1Z"), (120, "22.00012Z"), (999_999, "22.999999Z")]
)
def test_fraction_of_seconds_has_no_trailing_zeros(microseconds, text):
    moment = MOMENT + timedelta(microseconds=microseconds)
    occurrence = Occurrence(action=EventAction.PULL, repository="a")
    assert document(occurrence, moment=moment)["timestamp"] == f"2026-11-24T21:54:{text}"


def test_time_is_written_in_utc():
    occurrence = Occurrence(action=EventAction.PULL, repository="a")
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=8)))
    assert document(occurrence, moment=elsewhere)["timestamp"] == "2026-11-24T21:54:22Z"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_version_gives_the_media_type_of_distribution(version):
    assert EnvelopeType(version).media_type == f"application/vnd.docker.distribution.events.{version}+json"

"""The config of an image: commands as in the Dockerfile, and layers matched with the steps that made them."""

import json

import pytest

from core.inspection.configs import Layer, build_steps, clean_command, read_config, read_layers


@pytest.mark.parametrize(
    ("recorded", "command"),
    [
        ('/bin/sh -c #(nop)  CMD ["bash"]', 'CMD ["bash"]'),
        ("/bin/sh -c #(nop) ADD file:8b in / ", "ADD file:8b in /"),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("RUN /bin/sh -c apt-get update # buildkit", "RUN apt-get update"),
        ("RUN |2 A=1 B=x y /bin/sh -c make && make install # buildkit", "RUN make && make install"),
        ("|1 A=b /bin/sh -c make", "RUN make"),
        ("RUN /bin/bash -o pipefail -c curl x | sh # buildkit", "RUN /bin/bash -o pipefail -c curl x | sh"),
        ("|1 A=b /bin/bash -c make", "RUN /bin/bash -c make"),
        ("/bin/bash -c make", "RUN /bin/bash -c make"),
        ("COPY a /b # buildkit", "COPY a /b"),
        ("ENV A=b", "ENV A=b"),
        ("cmd /S /C #(nop) ENV A=b", "ENV A=b"),
        ("cmd /S /C dir", "RUN dir"),
        ("|1 A=b something", "|1 A=b something"),
        ("bazel build ...", "bazel build ..."),
        ("", ""),
    ],
)
def test_commands_are_those_of_the_dockerfile(recorded, command):
    assert clean_command(recorded) == command


def layers(*names):
    return [Layer(digest=name, size=1, media_type="t") for name in names]


def test_layers_are_matched_with_steps():
    steps = build_steps(layers("a", "b"), [("FROM", "", True), ("ENV", "", False), ("RUN", "c", True)])
    assert [(step.command, step.comment, step.layer.digest if step.layer else None) for step in steps] == [
        ("FROM", "", "a"),
        ("ENV", "", None),
        ("RUN", "c", "b"),
    ]


def test_layers_without_their_steps_come_first():
    steps = build_steps(layers("a", "b"), [("RUN", "", True)])
    assert [(step.command, step.layer.digest if step.layer else None) for step in steps] == [
        ("", "a"),
        ("", "b"),
        ("RUN", None),
    ]


def test_config_is_read():
    config = read_config(
        json.dumps(
            {
                "author": "a",
                "config": {
                    "User": "u",
                    "Env": ["A=b"],
                    "Entrypoint": "/x",
                    "Cmd": ["y"],
                    "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
                    "Volumes": {"/v": {}},
                    "WorkingDir": "/w",
                    "StopSignal": "SIGINT",
                },
                "history": [
                    {"created_by": "RUN /bin/sh -c x # buildkit", "comment": "buildkit.dockerfile.v0"},
                    {"created_by": "y", "comment": "mine", "empty_layer": True},
                    7,
                ],
            }
        ).encode()
    )
    assert config.is_readable
    assert (config.author, config.user, config.working_directory, config.stop_signal) == ("a", "u", "/w", "SIGINT")
    assert [config.entrypoint.items, config.command.items, config.environment.items] == [["/x"], ["y"], ["A=b"]]
    assert [config.ports.items, config.volumes.items] == [["443/tcp", "80/tcp"], ["/v"]]
    assert config.history == [("RUN x", "", True), ("y", "mine", False), ("", "", True)]


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}"])
def test_config_without_content_is_unreadable(content):
    assert not read_config(content).is_readable


def test_layers_are_read_with_their_titles():
    title = {"org.opencontainers.image.title": "sbom.json"}
    [layer] = read_layers({"layers": [{"digest": "d", "size": 3, "mediaType": "t", "annotations": title}]})
    assert (layer.digest, layer.size, layer.media_type, layer.title) == ("d", 3, "t", "sbom.json")
    assert [blob.digest for blob in read_layers({"blobs": [{"digest": "e"}, None]})] == ["e", ""]

"""The shipped JSON Schema agrees with the code and with good and wrong files."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

import config
from config.json_schema import describe_file, render_schema

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

SHIPPED = Path(config.__file__).parent


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """The schema, which `test_schema_is_itself_valid` checks once: `jsonschema.validate` would at each call."""
    return jsonschema.Draft202012Validator(describe_file())


def test_shipped_file_is_up_to_date() -> None:
    hint = "run: make settings"
    assert (SHIPPED / "registry.schema.json").read_text(encoding="utf-8") == render_schema(), hint


def test_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(describe_file())


@pytest.mark.parametrize("name", ["config-scs.yml", "config-dev.yml"])
def test_shipped_configurations_satisfy_it(name: str) -> None:
    document = yaml.safe_load((SHIPPED / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(render_schema())).validate(document)


@pytest.mark.parametrize(
    "text",
    [
        "version: 0.1\nstorage: inmemory\n",
        "version: '0.1'\nstorage: {inmemory: }\nauth: none\n",
        "version: 0.1\nhttp: {draintimeout: 1m30s, headers: {X: [a]}}\nhealth: {tcp: [{addr: x}]}\nunknown: 1\n",
    ],
)
def test_good_files_satisfy_it(schema: jsonschema.Draft202012Validator, text: str) -> None:
    schema.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "storage: inmemory\n",
        "version: 0.2\n",
        "version: 0.1\nlog: {level: loud}\n",
        "version: 0.1\nhttp: {draintimeout: soon}\n",
        "version: 0.1\nstorage: {delete: {enabled: 5}}\n",
        "version: 0.1\ntags: {maxtags: -1}\n",
        "version: 0.1\nhealth: {tcp: {}}\n",
    ],
)
def test_wrong_files_do_not_satisfy_it(schema: jsonschema.Draft202012Validator, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(yaml.safe_load(text))


def test_defaults_are_included_and_secrets_have_none() -> None:
    properties = describe_file()["properties"]
    assert properties["http"]["properties"]["addr"]["default"] == ":5000"
    assert (
        properties["storage"]["properties"]["maintenance"]["properties"]["uploadpurging"]["properties"]["age"][
            "default"
        ]
        == "168h"
    )
    assert "default" not in properties["http"]["properties"]["secret"]
    assert properties["loglevel"]["deprecated"] is True

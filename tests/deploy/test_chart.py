"""Helm renders the chart into a configuration that the registry understands, and each value has an effect."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.deployments import DEPLOY, of_kind, parse_documents
from tests.support.helm import CHART, render, render_each, run_helm
from tests.support.kubernetes_links import broken_links
from tests.support.kubernetes_types import problems_of
from tests.support.manifests import load_as_the_pod_would

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

SETS = sorted((CHART / "ci").glob("*-values.yaml"))
TABLE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "chart.yml").read_text())
BASES, EXAMPLES, CASES, REFUSED = (TABLE[key] for key in ("bases", "examples", "cases", "refused"))


def defaults() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return values


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def leaves(values: Mapping[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of each value that is no mapping with entries."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, *path, key)
        else:
            yield (*path, key)


def at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = values
    for key in path:
        found = found[key]
    return found


def base_of(path: tuple[str, ...]) -> str:
    name = ".".join(path)
    return next((base for prefix, base in TABLE["base_of"].items() if name.startswith(prefix)), "scs")


def another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value}changed"
        case dict():
            return {"changed": "changed"}
        case _:
            raise AssertionError(f"chart.yml needs an example in the place of {value}")


def with_another_value(path: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of a leaf's base with another value of that leaf."""
    base = merged(defaults(), BASES[base_of(path)])
    value = at(base, path)
    other = EXAMPLES.get(".".join(path)) or another(value)
    assert other != value
    for key in reversed(path):
        other = {key: other}
    return merged(BASES[base_of(path)], other)


LEAVES = {".".join(path): path for path in leaves(defaults())}


@pytest.fixture(scope="module")
def rendered(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The manifests for the bases, for every leaf with another value, and for the cases."""
    tool("helm")
    sets = {name: with_another_value(path) for name, path in LEAVES.items()}
    sets |= BASES | {name: case["values"] for name, case in CASES.items()}
    return render_each(sets, tmp_path_factory.mktemp("variants") / "chart")


def without_checksums(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith("checksum/")]


@pytest.mark.parametrize("leaf", LEAVES)
def test_each_value_changes_the_manifests(rendered, leaf):
    assert without_checksums(rendered[leaf]) != without_checksums(rendered[base_of(LEAVES[leaf])])


def test_no_value_makes_an_unknown_key(rendered, tmp_path):
    different = {}
    for name, text in rendered.items():
        different[text.partition("/configmap.yaml")[2].partition("# Source:")[0]] = name
    assert len(different) > 20
    for name in different.values():
        assert load_as_the_pod_would(parse_documents(rendered[name]), tmp_path).warnings == (), name


@pytest.mark.parametrize("name", [*BASES, *CASES])
def test_names_and_selectors_lead_to_what_they_mean(rendered, name):
    assert broken_links([each for each in parse_documents(rendered[name]) if each["kind"] != "Pod"]) == []


@pytest.mark.parametrize("case", CASES)
def test_values_reach_their_keys(rendered, case, tmp_path):
    loaded = load_as_the_pod_would(parse_documents(rendered[case]), tmp_path)
    values = {each.key: each.as_json()["value"] for each in loaded.effective}
    expected = CASES[case]["keys"]
    assert {key: values.get(key) for key in expected} == expected
    assert loaded.warnings == ()


def test_manifests_have_no_unknown_fields(rendered):
    texts = {part for text in rendered.values() for part in text.split("\n---\n")}
    assert len(texts) > 100
    assert [problem for text in texts for each in parse_documents(text) for problem in problems_of(each)] == []


def test_pod_of_the_test_uses_the_secrets_for_its_image(rendered):
    pod = of_kind(parse_documents(rendered["imagePullSecrets"]), "Pod")
    assert pod["spec"]["imagePullSecrets"] == EXAMPLES["imagePullSecrets"]


def test_pod_of_the_test_may_reach_the_registry(rendered):
    manifests = parse_documents(rendered["networkPolicy.from"])
    [rule, *_] = of_kind(manifests, "NetworkPolicy")["spec"]["ingress"]
    allowed = [each["podSelector"].get("matchLabels") for each in rule["from"] if "podSelector" in each]
    assert of_kind(manifests, "Pod")["metadata"]["labels"] in allowed


@pytest.mark.parametrize("problem", REFUSED)
def test_wrong_sets_of_values_are_refused_by_name(tool, tmp_path, problem):
    tool("helm")
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({"secrets": {"existingSecret": "own"}} | REFUSED[problem]))
    with pytest.raises(ValueError, match=problem):
        render(path)


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_rendered_manifests_are_those_of_the_chart(tool, path):
    tool("helm")
    committed = (DEPLOY / "kubernetes" / path.stem.removesuffix("-values") / "registry.yaml").read_text()
    assert committed.partition("\n")[2] == render(path), "run scripts/render-kubernetes"


def test_chart_passes_the_linter(tool):
    tool("helm")
    run_helm("lint", "--strict", "--quiet", str(CHART), *(f"--values={path}" for path in SETS))


def test_example_of_the_page_is_understood(tool, tmp_path):
    """Artifact Hub shows the page."""
    tool("helm")
    [example] = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "values.yaml"
    path.write_text(example)
    manifests = parse_documents(render(path))
    assert load_as_the_pod_would(manifests, tmp_path).warnings == ()
    assert broken_links(manifests) == []


def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(document)
    return document


@pytest.mark.parametrize("path", [None, *SETS], ids=lambda path: path.stem if path else "defaults")
def test_values_satisfy_their_schema(path):
    over = yaml.safe_load(path.read_text()) if path else {}
    jsonschema.validate(merged(defaults(), over), schema())


def test_schema_knows_exactly_the_values():
    def known(node: dict[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
        for key, inner in node.get("properties", {}).items():
            yield (*path, key)
            yield from known(inner, *path, key)

    # Mappings that go to Kubernetes or into the configuration as they are.
    free = {("resources",), ("ingress", "annotations")}
    given = {path[:length] for path in LEAVES.values() for length in range(1, len(path) + 1)}
    given = {path for path in given if not any(path[: len(each)] == each and path != each for each in free)}
    assert set(known(schema())) - {("global",)} == given


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 0},
        {"workers": 0},
        {"storage": {"type": "gcs"}},
        {"storage": {"type": "scs", "scs": {"rootdirectory": "/team"}}},
        {"secrets": {"httpSecret": "short"}},
        {"replicaCount": 3},
        {"image": {"repository": ""}},
        {"ingress": {"enabled": "yes"}},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**defaults(), **wrong}, schema())


def test_keys_of_the_drivers_are_keys_of_the_registry():
    known = json.loads((Path(__file__).parents[2] / "config" / "registry.schema.json").read_text())
    for driver in ("scs", "s3"):
        keys = known["properties"]["storage"]["properties"][driver]["properties"]
        assert set(defaults()["storage"][driver]) <= set(keys), driver


def test_annotations_for_artifact_hub_are_those_of_the_project():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    annotations = chart["annotations"]
    [image] = yaml.safe_load(annotations["artifacthub.io/images"])
    assert image["image"] == f"{defaults()['image']['repository']}:{chart['appVersion']}"
    for link in yaml.safe_load(annotations["artifacthub.io/links"]):
        path = link["url"].partition("/blob/main/")[2]
        assert (DEPLOY.parent / path).is_file(), link
    assert all(name.startswith("artifacthub.io/") for name in annotations)

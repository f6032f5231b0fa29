"""YAML becomes a tree with lines, and hostile YAML becomes an error."""

import pytest

from config.errors import ConfigError
from config.tree import Items, Scalar, Section, Source, dotted, find_node, printable
from config.yaml_tree import parse_document, parse_text, parse_value

VARIABLE = Source(origin="REGISTRY_X")


def parse(text: str) -> Section:
    return parse_document(text, origin="config.yml")[0]


def test_values_have_their_line() -> None:
    root = parse("a: 1\nb:\n  c:\n    - x\n    - y\n")
    node = find_node(root, ("b", "c", 1))
    assert isinstance(node, Scalar)
    assert (node.text, str(node.source)) == ("y", "config.yml:5")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("012", 10),
        ("yes", True),
        ("off", False),
        ("1e3", "1e3"),
        ("1_000", 1000),
        ("~", None),
        ("", None),
        ("'7'", "7"),
    ],
)
def test_scalars_keep_their_text_beside_the_yaml_1_1_value(text: str, value: object) -> None:
    node = parse(f"key: {text}")["key"]
    assert isinstance(node, Scalar)
    assert node.value == value
    assert node.text == ("" if value is None else text.strip("'"))


def test_merge_keys_add_missing_keys() -> None:
    root = parse("base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\nboth: {<<: [*b, {z: 4}]}\n")
    other, both = root["other"], root["both"]
    assert isinstance(other, Section)
    assert isinstance(both, Section)
    assert {key: node.text for key, node in other.items() if isinstance(node, Scalar)} == {"x": "1", "y": "3"}
    assert set(both) == {"x", "y", "z"}


def test_keys_given_twice_are_warned_about() -> None:
    root, warnings = parse_document("a: 1\na: 2\n", origin="config.yml")
    assert isinstance(root["a"], Scalar)
    assert root["a"].text == "2"
    assert warnings == ["config.yml:2: `a` is given twice; the last value is used"]


def test_empty_file_is_an_empty_section() -> None:
    assert parse("") == {}
    assert parse("# only a comment\n") == {}


BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {k: v}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 20)}]}}\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BILLION_LAUGHS, "too many values"),
        (MERGE_BOMB, "too many values"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: &a {<<: *a}", "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: x\nb: " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("a: !!python/name:os.system ''", "no `!` tags"),
        ("a: !secret x", "no `!` tags"),
        ("a: !!int x", "does not fit its tag"),
        ("a: !!float x", "does not fit its tag"),
        ("a: !!bool x", "does not fit its tag"),
        ("? [a, b]\n: c", "a key must be a plain text"),
        ("<<: 1", "must merge a mapping"),
        ("a: \x01", "control character"),
        ("- a", "must be a mapping"),
        ("a", "must be a mapping"),
        ("a: 1\n---\nb: 2", "found another document"),
        ("a: [", "not valid YAML"),
        ("a:\n\tb: 1", "config.yml:2: not valid YAML: a tab; YAML indents with spaces"),
    ],
    ids=lambda text: text[:24],
)
def test_unusable_files_give_one_line_errors(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert said in str(raised.value)
    assert str(raised.value).startswith("config.yml:")
    assert "\n" not in str(raised.value)


def test_yaml_tags_create_no_objects() -> None:
    assert isinstance(parse("a: !!python/object/apply:os.system [id]")["a"], Items)


@pytest.mark.parametrize("text", ["password: *hunter2", "password: !hunter2!x y", "password: 'hunter2\n\x02"])
def test_yaml_errors_quote_nothing_of_the_file(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "@at",
        "#hash",
        "a: b",
        "[x",
        "[x]",
        "*x",
        "&x",
        "%x",
        "`x",
        "a #b",
        "!x",
        "012",
        "1e3",
        "yes",
        "{a",
        "{a: b}",
        "- x",
        "> x",
        "| x",
        "'open",
        '"open',
        "'a' b",
        "?",
        ":",
        "a\\b",
        "---",
        "|",
    ],
)
def test_texts_of_variables_are_used_unchanged(text: str) -> None:
    assert parse_text(text, source=VARIABLE).text == text


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("'a b'", "a b"),
        ('"a\\tb"', "a\tb"),
        ("'it''s'", "it's"),
        ("  spaced  ", "spaced"),
        ("'#x' # note", "#x"),
        ("|\n  line one\n  line two\n", "line one\nline two\n"),
    ],
)
def test_yaml_quotes_around_a_whole_text_are_undone(text: str, taken: str) -> None:
    assert parse_text(text, source=VARIABLE).text == taken


@pytest.mark.parametrize("text", ["", "  ", "~", "null", "Null", "NULL", "''"])
def test_empty_texts_mean_the_default(text: str) -> None:
    assert parse_text(text, source=VARIABLE).is_empty


def test_values_of_variables_carry_the_name_of_the_variable() -> None:
    node = parse_value("{a: [1]}", source=VARIABLE)
    assert isinstance(node, Section)
    assert str(node["a"].source) == "REGISTRY_X"
    with pytest.raises(ConfigError, match="REGISTRY_X: not valid YAML"):
        parse_value("[", source=VARIABLE)


def test_paths_and_texts_are_readable() -> None:
    assert dotted(("health", "http", 0, "uri")) == "health.http[0].uri"
    assert printable("a\nb\x1b[31m\u2028\udcff") == "a\\nb\\x1b[31m\\u2028\\udcff"
    assert printable("x" * 200) == "x" * 79 + "…"


def test_scalars_and_sources_show_no_value_in_repr() -> None:
    assert "hunter2" not in repr(parse("a: hunter2"))

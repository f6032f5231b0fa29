"""Claims that a rule accepts, and the names that they make."""

import pytest

from core.model.claims import ClaimsRefusedError, group_problem, user_problem
from core.model.setting import SettingInvalidError
from core.model.workloads import Workload, WorkloadRule

CLAIMS = {
    "aud": ["registry.example"],
    "sub": "system:serviceaccount:prod:web",
    "repository": "corp/app",
    "ref": "refs/heads/main",
    "run": 17,
    "protected": True,
    "private": False,
    "teams": ["a/one", 2, None, "two"],
    "nothing": None,
    "share": 0.5,
    "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "web"}},
    "https://example.com/team": "red",
}


def rule(user="ci:{repository}", *, groups=(), audiences=("registry.example",), **when):
    globs = {claim: (value,) if isinstance(value, str) else value for claim, value in when.items()}
    return WorkloadRule(audiences=audiences, when=globs or {"repository": ("**",)}, user=user, groups=groups)


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ({"repository": "corp/*"}, True),
        ({"repository": "*"}, False),
        ({"repository": "**", "ref": "refs/heads/main"}, True),
        ({"repository": "**", "ref": "refs/tags/*"}, False),
        ({"ref": ("refs/tags/*", "refs/heads/*")}, True),
        ({"missing": "**"}, False),
        ({"nothing": "**"}, False),
        ({"share": "**"}, False),
        ({"run": "17"}, True),
        ({"protected": "true"}, True),
        ({"protected": "1"}, False),
        ({"private": "false"}, True),
        ({"teams": "two"}, True),
        ({"teams": "2"}, True),
        ({"teams": "three"}, False),
        ({"kubernetes.io/namespace": "prod"}, True),
        ({"kubernetes.io/serviceaccount/name": "w?b"}, True),
        ({"kubernetes.io/missing/name": "**"}, False),
        ({"kubernetes.io": "**"}, False),
        ({"https://example.com/team": "red"}, True),
        ({"sub": "system:serviceaccount:prod:*"}, True),
    ],
    ids=str,
)
def test_every_claim_must_match_one_glob(when, *, matches):
    assert rule(**when).accepts(CLAIMS) is matches


@pytest.mark.parametrize("aud", ["registry.example", ["x", "registry.example"]])
def test_one_audience_is_enough(aud):
    assert rule(audiences=("other", "registry.example")).accepts(CLAIMS | {"aud": aud})


@pytest.mark.parametrize("aud", ["registry", [], None, ["x"], {"registry.example": 1}])
def test_wrong_audience_is_not_accepted(aud):
    assert not rule().accepts(CLAIMS | {"aud": aud})


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("gha:{repository}", "gha:corp/app"),
        ("ci:{run}/{protected}", "ci:17/true"),
        ("k8s:{kubernetes.io/namespace}/{kubernetes.io/serviceaccount/name}", "k8s:prod/web"),
        ("k8s:{sub}", "k8s:system:serviceaccount:prod:web"),
        ("team:{https://example.com/team}", "team:red"),
        ("ci:builder", "ci:builder"),
    ],
)
def test_claims_fill_the_template(template, name):
    assert rule(template, groups=("ci", "ref:{ref}")).identify(CLAIMS) == Workload(
        name, frozenset({"ci", "ref:refs/heads/main"})
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is missing"), ("", "visible"), (["a"], "visible"), ({"a": 1}, "visible"), (1.5, "visible"),
        ("a b", "visible"), ("a\nb", "visible"), ("a\0", "visible"), ("é", "visible"), ("a\u202eb", "visible"),
        ("x" * 253, "longer than 255"),
    ],
)  # fmt: skip
def test_unusable_claim_is_refused(value, problem):
    with pytest.raises(ClaimsRefusedError, match=problem) as raised:
        rule().identify(CLAIMS | {"repository": value} if value is not None else {})
    assert not value or str(value) not in str(raised.value)


def test_unusable_claim_of_a_group_is_refused_too():
    with pytest.raises(ClaimsRefusedError):
        rule(groups=("ci", "t:{missing}")).identify(CLAIMS)


def test_longest_name_is_accepted():
    assert len(rule().identify(CLAIMS | {"repository": "x" * 252}).user) == 255


@pytest.mark.parametrize("text", ["gha:{repository}", "gha:x-{a}{b}", "ci:builder", "a:{x}:y", "g:{a/b.c:d}"])
def test_template_with_a_prefix_is_valid(text):
    assert user_problem(text) is None
    assert group_problem(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "{sub}", "alice", "{sub}:x", ":{sub}", ":a:{sub}", "gha-{sub}", "@a:{sub}", "a b:{sub}", "ci:{", "ci:}",
        "ci:{}", "ci:{a{b}}", "é:{sub}", "ci:{sub}\n", "ci:" + "x" * 300,
    ],
)  # fmt: skip
def test_template_that_could_make_the_name_of_a_user_is_invalid(text):
    assert user_problem(text) is not None


def test_group_needs_a_prefix_only_with_a_claim():
    assert group_problem("ci") is None
    for text in ("{sub}", "team-{sub}", "@ci", "a b", "ci}"):
        assert group_problem(text) is not None


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"audiences": ()}, "audiences"), ({"audiences": ("",)}, "audiences"), ({"when": {}}, "when"),
        ({"when": {"a": ()}}, "when"), ({"groups": ("a",) * 21}, "groups"),
    ],
)  # fmt: skip
def test_rule_that_restricts_nothing_is_invalid(values, key):
    valid = {"audiences": ("a",), "when": {"sub": ("b",)}, "user": "ci:{sub}", "groups": ("a",) * 20}
    assert WorkloadRule.complete(valid) == valid
    with pytest.raises(SettingInvalidError) as raised:
        WorkloadRule.complete(valid | values)
    assert list(raised.value.problems) == [key]


@pytest.mark.parametrize(
    ("name", "is_named"), [("ci", True), ("ref:main", True), ("ci2", False), ("ref", False), ("repo:x", False)]
)
def test_groups_of_a_rule_are_those_of_its_templates(name, *, is_named):
    assert rule(groups=("ci", "ref:{ref}")).names_group(name) is is_named


def test_prefix_ends_with_the_first_colon():
    assert rule("gha:x:{sub}").prefix == "gha:"

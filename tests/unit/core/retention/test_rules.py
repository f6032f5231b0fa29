"""Images that retention keeps and removes: examples, then properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.model.digest import Digest
from core.model.names import Tag
from core.model.versions import Version
from core.retention.rules import Order, RetentionRule, TagState, decide
from core.store.timeline import Timeline

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TIMELINE = Timeline(NOW)
DAY = timedelta(days=1)
REPOSITORY = "team/app"


def state(tag, age=0.0, *, image=None, pulled=None, is_immutable=False):
    return TagState(
        tag=Tag(tag),
        digest=Digest.of((image or tag).encode()),
        pushed_at=NOW - age * DAY,
        pulled_at=None if pulled is None else NOW - pulled * DAY,
        is_immutable=is_immutable,
    )


def going(tags, *rules, repository=REPOSITORY):
    return [verdict.state.tag for verdict in decide(repository, tags, rules, TIMELINE) if verdict.goes]


def test_last_pushed_stay():
    tags = [state("a", 3), state("b", 1), state("c", 2), state("d", 4)]
    assert going(tags, RetentionRule(keep_last=2)) == ["a", "d"]


def test_tags_of_one_manifest_are_one_image():
    tags = [state("1.0.1", 1, image="x"), state("1.0", 1, image="x"), state("1", 1, image="x"), state("old", 2)]
    assert going(tags, RetentionRule(keep_last=2)) == []
    assert going(tags, RetentionRule(keep_last=1)) == ["old"]


def test_last_versions_stay_whenever_they_were_pushed():
    tags = [state("1.10.0", 9), state("1.9.0", 1), state("2.0.0-rc.1", 5), state("1.9.1", 0), state("latest", 30)]
    rule = RetentionRule(keep_last=2, order=Order.SEMVER)
    assert going(tags, rule) == ["1.9.0", "1.9.1"]


def test_rule_by_version_ignores_other_tags():
    [verdict] = decide(REPOSITORY, [state("latest", 99)], [RetentionRule(keep_last=1, order=Order.SEMVER)], TIMELINE)
    assert (verdict.goes, verdict.reasons) == (False, ("no rule matches",))


def test_age_counts_from_the_push():
    tags = [state("new", 6.9), state("edge", 7), state("old", 7.1)]
    assert going(tags, RetentionRule(pushed_within=7 * DAY)) == ["old"]


def test_age_counts_from_the_pull_or_else_the_push():
    tags = [state("pulled", 90, pulled=1), state("unused", 90, pulled=40), state("fresh", 2), state("old", 90)]
    assert going(tags, RetentionRule(pulled_within=30 * DAY)) == ["unused", "old"]


def test_rules_add_up():
    tags = [state("v1", 90), state("v2", 80), state("pr-1", 10), state("pr-2", 1), state("other", 500)]
    rules = [RetentionRule(tags=("v*",), keep_last=1), RetentionRule(tags=("pr-*",), pushed_within=7 * DAY)]
    assert going(tags, *rules) == ["v1", "pr-1"]
    everything = RetentionRule(pushed_within=85 * DAY)
    assert going(tags, *rules, everything) == ["v1", "other"]


def test_rules_of_other_repositories_do_not_count():
    assert going([state("a", 99)], RetentionRule(repositories=("other/**",), keep_last=1)) == []
    tags = [state("a", 1), state("b", 99)]
    assert going(tags, RetentionRule(repositories=("team/*",), keep_last=1)) == ["b"]
    assert going(tags, RetentionRule(repositories=("team/*",), keep_last=1), repository="team/sub/app") == []


def test_immutable_tags_stay_and_count():
    tags = [state("a", 1, is_immutable=True), state("b", 2), state("c", 99, is_immutable=True)]
    assert going(tags, RetentionRule(keep_last=1)) == ["b"]


def attachment(image, suffix=".sig", age=0.0):
    digest = Digest.of(image.encode())
    return state(f"{digest.algorithm}-{digest.encoded}{suffix}", age)


def test_signatures_are_removed_only_with_their_image():
    kept, gone, unknown = attachment("new", age=50), attachment("old"), attachment("elsewhere", "", age=99)
    tags = [state("new", 1), state("old", 2), kept, gone, unknown]
    assert going(tags, RetentionRule(keep_last=1)) == ["old", gone.tag]


def test_signature_stays_while_another_tag_keeps_its_image():
    signature = attachment("x")
    tags = [state("v1", 9, image="x"), state("release", 9, image="x"), signature]
    assert going(tags, RetentionRule(tags=("v*",), pushed_within=DAY)) == ["v1"]


def test_attachment_of_an_attachment_is_removed_too():
    signature = attachment("old")
    attestation = attachment(signature.tag, ".att")
    assert going([attestation, signature, state("new"), state("old", 1)], RetentionRule(keep_last=1)) == [
        attestation.tag,
        signature.tag,
        "old",
    ]


def test_unknown_pull_keeps_the_image():
    """If pulls are recorded since yesterday, the pulls of last week are unknown."""
    tags = [replace(state(tag, 90, pulled=age), is_pull_assumed=True) for tag, age in (("a", 1), ("b", 9))]
    first, second = decide(REPOSITORY, tags, [RetentionRule(pulled_within=7 * DAY)], TIMELINE)
    assert (first.goes, first.reasons) == (False, ("rule 1: pull records do not reach back far enough",))
    assert second.goes


def test_reasons_contain_rule_and_condition():
    rules = [RetentionRule(keep_last=1, pulled_within=DAY), RetentionRule(pushed_within=2 * DAY, pulled_within=DAY)]
    first, second, third = decide(
        REPOSITORY, [state("a", 0), state("b", 1.5, pulled=0.5), state("c", 9)], rules, TIMELINE
    )
    assert first.reasons == (
        "rule 1: among the last 1",
        "rule 1: pushed recently, no later pull known",
        "rule 2: pushed recently",
        "rule 2: pushed recently, no later pull known",
    )
    assert second.reasons == ("rule 1: pulled recently", "rule 2: pushed recently", "rule 2: pulled recently")
    assert (third.goes, third.reasons) == (True, ("not kept by any rule",))


names = st.sampled_from(
    [f"v{major}.{minor}.0" for major in range(3) for minor in range(3)] + ["latest", "pr-1", "pr-2"]
)
days = st.integers(0, 20)
states = st.builds(
    state, names, days, image=st.sampled_from("xyz"), pulled=st.none() | days, is_immutable=st.booleans()
)
tag_lists = st.lists(states, max_size=10, unique_by=lambda each: each.tag)
durations = st.none() | days.map(lambda count: count * DAY)
rules = st.builds(
    RetentionRule,
    repositories=st.sampled_from([("**",), ("team/*",), ("other",)]),
    tags=st.sampled_from([("*",), ("v*",), ("pr-*", "latest"), ("v1.*",)]),
    keep_last=st.integers(0, 4),
    order=st.sampled_from(Order),
    pushed_within=durations,
    pulled_within=durations,
)


def keeps(rule, each, tags):
    """Return whether a rule keeps a tag, computed differently than in the code: by the number of images before it."""
    if not (rule.covers(REPOSITORY) and rule.applies_to(each.tag)):
        return False

    def rank(other):
        version = Version.parse(other.tag) if rule.order is Order.SEMVER else None
        return (version or other.pushed_at, other.pushed_at, other.tag)

    same = [other for other in tags if rule.applies_to(other.tag)]
    best = max(rank(other) for other in same if other.digest == each.digest)
    before = {other.digest for other in same if rank(other) > best}
    used_at = max(each.pushed_at, each.pulled_at or each.pushed_at)
    return (
        len(before) < rule.keep_last
        or (rule.pushed_within is not None and NOW - each.pushed_at <= rule.pushed_within)
        or (rule.pulled_within is not None and NOW - used_at <= rule.pulled_within)
    )


@given(tag_lists, st.lists(rules, max_size=4))
def test_exactly_the_images_that_a_rule_keeps_stay(tags, some_rules):
    for verdict in decide(REPOSITORY, tags, some_rules, TIMELINE):
        each = verdict.state
        is_kept = any(keeps(rule, each, tags) for rule in some_rules)
        is_matched = any(rule.covers(REPOSITORY) and rule.applies_to(each.tag) for rule in some_rules)
        assert verdict.goes == (is_matched and not is_kept and not each.is_immutable)


@given(tag_lists, st.lists(rules, max_size=3), rules)
def test_added_rule_removes_nothing_that_others_keep(tags, some_rules, another):
    before = {verdict.state.tag for verdict in decide(REPOSITORY, tags, some_rules, TIMELINE) if not verdict.goes}
    applicable = [rule for rule in some_rules if rule.covers(REPOSITORY)]
    matched = {each.tag for each in tags if any(rule.applies_to(each.tag) for rule in applicable)}
    after = {
        verdict.state.tag for verdict in decide(REPOSITORY, tags, [*some_rules, another], TIMELINE) if not verdict.goes
    }
    assert before & matched <= after


@given(tag_lists, st.lists(rules, max_size=4), st.randoms())
def test_order_of_tags_and_rules_does_not_matter(tags, some_rules, random):
    shuffled, other_rules = list(tags), list(some_rules)
    random.shuffle(shuffled)
    random.shuffle(other_rules)
    assert set(going(tags, *some_rules)) == set(going(shuffled, *other_rules))


@given(tag_lists, st.lists(rules, max_size=4))
def test_second_run_removes_nothing(tags, some_rules):
    gone = set(going(tags, *some_rules))
    left = [each for each in tags if each.tag not in gone]
    assert going(left, *some_rules) == []

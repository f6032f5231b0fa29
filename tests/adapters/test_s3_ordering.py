"""Names come in the order of whole strings, from any pages of any listing, with few questions."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.blob_storage.s3.ordering import NamesPage, in_string_order

COMPONENT = st.from_regex(r"[aB0_][aB0._-]{0,3}", fullmatch=True)
PATHS = st.lists(COMPONENT.filter(lambda text: text[0] != "_"), min_size=1, max_size=3).map("/".join)


async def ordered(entries, tail, *, size, after=""):
    """List `entries` (names by the text that the store compares) in pages; return the names and the questions."""
    asked = []
    rest = sorted(entry for entry in entries if entry > after)

    async def pages():
        for start in range(0, max(len(rest), 1), size):
            page = rest[start : start + size]
            names = frozenset(entries[entry] for entry in page)
            yield NamesPage(names, page[-1] if page else "", start + size >= len(rest))

    async def probe(name):
        asked.append(name)
        return name + tail in entries

    ordered_pages = in_string_order(pages(), tail=tail, after=after, probe=probe)
    return [name async for names in ordered_pages for name in names], asked


@given(
    paths=st.sets(PATHS, max_size=30), size=st.integers(1, 7), after=st.one_of(st.just(""), PATHS, st.text(max_size=3))
)
async def test_paths_are_ordered(paths, size, after):
    entries = {f"{path}/_": path for path in paths}
    found, asked = await ordered(entries, "/_", size=size, after=after)
    assert found == sorted(path for path in paths if path > after)
    assert len(asked) == len(set(asked))


@given(
    folders=st.sets(COMPONENT, max_size=25),
    objects=st.sets(COMPONENT, max_size=10),
    size=st.integers(1, 7),
    after=st.one_of(st.just(""), COMPONENT, st.text(max_size=3)),
)
async def test_children_are_ordered_once(folders, objects, size, after):
    """A name may be an object and a prefix of others at once; it is still one name."""
    entries = {f"{name}/": name for name in folders} | {name: name for name in objects}
    found, _ = await ordered(entries, "/", size=size, after=after)
    assert found == sorted(name for name in folders | objects if name > after)


async def test_one_or_two_pages_need_no_extra_request():
    entries = {f"{name}/": name for name in ("v1", "v1.0", "v1.0-rc", *(f"v1.0.{n}" for n in range(100)))}
    for size in (200, 60):
        found, asked = await ordered(entries, "/", size=size)
        assert found == sorted(entries.values())
        assert asked == []


async def test_each_missing_entry_is_requested_once():
    """A thousand names between `v1-0` and `v1/`: it is asked once whether there is a `v1`."""
    entries = {f"{name}/": name for name in ("v1", *(f"v1-{n:04}" for n in range(1_000)))}
    found, asked = await ordered(entries, "/", size=100)
    assert found == sorted(entries.values())
    assert asked == ["v1"]


async def test_listing_may_be_left_early():
    closed = []

    async def pages():
        try:
            yield NamesPage(frozenset({"a", "b"}), "b/", is_final=False)
            raise AssertionError("the second page was not wanted")
        finally:
            closed.append(True)

    async def probe(_name):
        raise AssertionError("nothing is open")

    ordered_pages = in_string_order(pages(), tail="/", after="", probe=probe)
    assert await anext(ordered_pages) == ["a", "b"]
    await ordered_pages.aclose()
    assert closed == [True]

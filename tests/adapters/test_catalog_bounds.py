"""The bound that replaces a client's text lets exactly the same names through."""

from hypothesis import example, given
from hypothesis import strategies as st

from adapters.catalog_index.bounds import ALPHABET, legal_bound

TEXTS = st.text(max_size=6) | st.text(alphabet=ALPHABET + "A~ \x00é", max_size=6)
NAMES = st.text(alphabet=ALPHABET, min_size=1, max_size=8)


@given(after=TEXTS, name=NAMES)
@example(after="aZ", name="a9" + "z" * 253)
@example(after="aZ", name="a_")
@example(after="a ", name="a")
@example(after="a ", name="a-")
@example(after="a" * 300, name="a" * 255)
@example(after="a\udcff", name="a" + "z" * 254)
def test_bound_keeps_the_same_names(after, name):
    assert (name > legal_bound(after)) == (name > after)


@given(after=st.text(max_size=600))
def test_bound_is_short_and_of_legal_characters(after):
    bound = legal_bound(after)
    assert len(bound) <= 511
    assert set(bound) <= set(ALPHABET)


@given(after=st.text(alphabet=ALPHABET, max_size=255))
def test_legal_text_is_not_shortened(after):
    assert legal_bound(after) == after

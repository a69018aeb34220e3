"""What leads to what: the graph agrees with a naive search, whatever happens in which order."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from depproxy.store.graph import Graph, Key

KEYS = [bytes([number]) * 32 for number in range(6)]
"""A key leads to later ones only: digests are of their content, so there are no circles."""

INDEX, ANOTHER, MANIFEST, LAYER = KEYS[:4]


@st.composite
def documents(draw: st.DrawFn) -> dict[Key, list[Key]]:
    """For every key what it leads to, were it a document: the same digest has the same links."""
    return {
        key: draw(st.lists(st.sampled_from([*KEYS[place:], KEYS[-1]]), max_size=5))
        for place, key in enumerate(KEYS)
    }


class Model:
    """Pointers and documents; what is used is searched for anew each time."""

    def __init__(self, contents: dict[Key, list[Key]]) -> None:
        self.contents = contents
        self.pointers: Counter[Key] = Counter()
        self.known: set[Key] = set()

    def used(self) -> set[Key]:
        found: set[Key] = set()
        ways = list(self.pointers.elements())
        while ways:
            key = ways.pop()
            if key not in found:
                found.add(key)
                ways += self.contents[key] if key in self.known else []
        return found


class GraphMachine(RuleBasedStateMachine):
    """The graph beside the model."""

    @initialize(contents=documents())
    def begin(self, contents: dict[Key, list[Key]]) -> None:
        self.graph = Graph()
        self.model = Model(contents)

    @rule(key=st.sampled_from(KEYS))
    def point(self, key: Key) -> None:
        self.graph.point(key)
        self.model.pointers[key] += 1

    @precondition(lambda self: bool(self.model.pointers))
    @rule(data=st.data())
    def unpoint(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.pointers)))
        before = self.model.used()
        self.model.pointers -= Counter([key])
        unused = self.graph.unpoint(key)
        assert sorted(unused) == sorted(before - self.model.used())
        for place, gone in enumerate(unused):
            links = self.model.contents[gone] if gone in self.model.known else []
            assert not (set(links) - {gone}) & set(unused[:place])

    @precondition(lambda self: bool(self.model.pointers))
    @rule(data=st.data())
    def ask_what_would_be_unused(self, data: st.DataObject) -> None:
        """The answer changes nothing, as the invariants find out."""
        pointers = sorted(self.model.pointers.elements())
        gone = data.draw(st.lists(st.sampled_from(range(len(pointers))), unique=True))
        before = self.model.used()
        less = Model(self.model.contents)
        less.pointers = self.model.pointers - Counter(pointers[place] for place in gone)
        less.known = self.model.known
        unused = self.graph.unused_without(pointers[place] for place in gone)
        assert sorted(unused) == sorted(before - less.used())

    @rule(key=st.sampled_from(KEYS))
    def learn(self, key: Key) -> None:
        self.graph.learn(key, self.model.contents[key])
        self.model.known.add(key)

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: Key) -> None:
        self.graph.forget(key)
        self.model.known.discard(key)

    @invariant()
    def the_same_is_used(self) -> None:
        assert {key for key in KEYS if self.graph.is_used(key)} == self.model.used()

    @invariant()
    def the_same_is_known(self) -> None:
        known = self.model.known
        assert set(self.graph) == known
        assert {key for key in KEYS if self.graph.is_document(key)} == known
        for key in known:
            assert set(self.graph.links(key)) == set(self.model.contents[key]) - {key}


GraphMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
TestGraph = GraphMachine.TestCase


@given(documents(), st.sets(st.sampled_from(KEYS)), st.sampled_from(KEYS))
def test_a_key_reaches_itself_and_what_known_documents_lead_to(
    contents: dict[Key, list[Key]], known: set[Key], start: Key
) -> None:
    graph, model = Graph(), Model(contents)
    for key in known:
        graph.learn(key, contents[key])
    model.known = known
    model.pointers[start] = 1
    assert graph.reach(start) == model.used()


def test_what_is_not_known_leads_nowhere_and_is_not_used() -> None:
    graph = Graph()
    assert graph.links(LAYER) == ()
    assert not graph.is_document(LAYER)
    assert not graph.is_used(LAYER)
    assert list(graph) == []


def test_a_link_that_is_named_twice_is_one() -> None:
    graph = Graph()
    graph.learn(MANIFEST, [LAYER, LAYER])
    graph.point(MANIFEST)
    assert graph.links(MANIFEST) == (LAYER,)
    assert graph.unpoint(MANIFEST) == [MANIFEST, LAYER]


def test_a_document_that_is_learned_twice_counts_once() -> None:
    graph = Graph()
    graph.point(MANIFEST)
    graph.learn(MANIFEST, [LAYER])
    graph.learn(MANIFEST, [LAYER])
    assert set(graph.unpoint(MANIFEST)) == {MANIFEST, LAYER}
    assert not graph.is_used(LAYER)


def test_it_is_all_the_same_whether_the_pointer_or_the_body_comes_first() -> None:
    for pointer_first in (True, False):
        graph = Graph()
        if pointer_first:
            graph.point(INDEX)
        graph.learn(MANIFEST, [LAYER])
        graph.learn(INDEX, [MANIFEST])
        if not pointer_first:
            graph.point(INDEX)
        assert all(graph.is_used(key) for key in (INDEX, MANIFEST, LAYER))


def test_a_document_that_nothing_leads_to_uses_nothing() -> None:
    graph = Graph()
    graph.learn(MANIFEST, [LAYER])
    assert not graph.is_used(LAYER)
    graph.point(LAYER)
    graph.forget(MANIFEST)
    assert graph.is_used(LAYER)


def test_what_leads_to_others_is_named_before_these() -> None:
    """Files go in the opposite order, so that what is left after a crash still tells of the
    rest."""
    graph = Graph()
    graph.learn(INDEX, [LAYER, MANIFEST])
    graph.learn(MANIFEST, [LAYER])
    graph.point(INDEX)
    assert graph.unpoint(INDEX) == [INDEX, MANIFEST, LAYER]


def test_what_two_documents_lead_to_is_used_until_both_are_gone() -> None:
    graph = Graph()
    for document in (INDEX, ANOTHER):
        graph.learn(document, [LAYER])
        graph.point(document)
    assert graph.unpoint(INDEX) == [INDEX]
    graph.forget(INDEX)
    assert graph.unpoint(ANOTHER) == [ANOTHER, LAYER]

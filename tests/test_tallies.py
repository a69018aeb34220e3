"""Distributions: how many values are at most so large."""

from hypothesis import given
from hypothesis import strategies as st

from depproxy.tallies import Distribution


@given(st.lists(st.floats(0, 10)))
def test_a_bound_counts_all_values_up_to_it(values: list[float]) -> None:
    distribution = Distribution((0.5, 1.0, 5.0))
    for value in values:
        distribution.add(value)
    told = distribution.samples(("x",))
    for bound in (0.5, 1.0, 5.0):
        assert told["x", str(bound)] == sum(value <= bound for value in values)
    assert told["x", "+Inf"] == len(values)
    assert abs(told["x", "sum"] - sum(values)) < 1e-6

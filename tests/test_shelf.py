"""The shelf: what is put in comes out equal, in its order, whatever was replaced since."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outreach.shelf import Shelf

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no wall clock in tests
BLOCK = 256  # rows that are packed together


def shelf(values: list[tuple[object, ...]]) -> Shelf[tuple[object, ...]]:
    """Return a shelf of rows that are what they stand for."""
    made: Shelf[tuple[object, ...]] = Shelf(lambda row: row, lambda row: row)
    for value in values:
        made.append(value)
    return made


_ROW = st.tuples(st.text(max_size=5), st.integers(), st.none() | st.tuples(st.text(max_size=3)))


@PROPERTY
@given(
    st.lists(_ROW, max_size=5),
    st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 3]),
    st.lists(st.tuples(st.integers(0, 600), _ROW), max_size=5),
)
def test_a_shelf_is_the_list_that_was_put_in(
    rows: list[tuple[object, ...]], more: int, changes: list[tuple[int, tuple[object, ...]]]
) -> None:
    values: list[tuple[object, ...]] = [*rows, *(("row", n, None) for n in range(more))]
    made = shelf(values)
    for index, value in changes:
        if index < len(values):
            values[index] = value
            made.replace(index, value)
    assert list(made) == values
    assert (len(made), bool(made)) == (len(values), bool(values))
    assert [made[n] for n in range(-len(values), len(values))] == values * 2
    assert made[1:-1:2] == values[1:-1:2]
    assert list(reversed(made)) == values[::-1]
    assert list(made.rows()) == values
    assert made == values
    assert made == tuple(values)
    assert made == shelf(values)
    assert made != [*values, ("one more", 0, None)]


def test_a_row_may_be_replaced_again_also_before_its_block_is_full() -> None:
    made = shelf([("a",), ("b",)])
    made.replace(1, ("x",))
    made.replace(1, ("y",))
    for n in range(BLOCK):
        made.append((n,))
    assert (made[0], made[1], made[2]) == (("a",), ("y",), (0,))
    made.replace(BLOCK - 1, ("z",))
    assert made[BLOCK - 1] == ("z",)
    assert list(made)[BLOCK - 1] == ("z",)


@pytest.mark.parametrize("index", [3, -4, 1000])
def test_there_is_nothing_beside_the_ends(index: int) -> None:
    made = shelf([("a",), ("b",), ("c",)])
    with pytest.raises(IndexError):
        made[index]
    with pytest.raises(IndexError):
        made.replace(index, ("x",))


def test_a_shelf_is_no_other_thing_and_no_key() -> None:
    assert shelf([]) != 3
    assert shelf([("a",)]) != {"a"}
    assert repr(shelf([("a",)])) == "Shelf([('a',)])"
    with pytest.raises(TypeError):
        hash(shelf([]))


def test_what_stands_on_a_shelf_is_made_anew_each_time() -> None:
    """So nobody can change what others get."""
    made: Shelf[dict[str, str]] = Shelf(lambda one: tuple(one.items()), lambda row: dict(row))
    made.append({"a": "1"})
    made[0]["a"] = "2"
    assert made == [{"a": "1"}]


def test_long_rows_are_packed_few_together_and_found_again() -> None:
    values: list[tuple[object, ...]] = [(str(n) * 50_000,) for n in range(10, 40)]
    made = shelf(values)
    assert len(made._blocks) > 10, "a block is closed by its bytes, not only by its rows"
    made.replace(17, ("changed",))
    values[17] = ("changed",)
    assert list(made) == values
    assert [made[n] for n in range(29, -1, -1)] == values[::-1]

"""A mixture holds the shares that were asked for, whatever order its input came in."""

import copy
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data import identity, mixture
from experiments.errors import DataError

Row = dict[str, Any]


def rows(source: str, count: int, *, words: int = 1, topic: str = "") -> list[Row]:
    return [
        {
            "id": f"{source}-{i}",
            "source": source,
            "messages": [
                {"role": "user", "content": f"{topic or source} question {i}"},
                {"role": "assistant", "content": "word " * words},
            ],
            "tools": [{"type": "function", "function": {"name": "look_up"}}],
        }
        for i in range(count)
    ]


def words(members: Sequence[Row]) -> list[int]:
    return [len(row["messages"][-1]["content"].split()) for row in members]


def ids(members: Sequence[Row]) -> list[str]:
    return [row["id"] for row in members]


def test_shares_by_rows_are_exact() -> None:
    sources = {"a": rows("a", 900), "b": rows("b", 400), "c": rows("c", 50)}
    drawn = mixture.draw(sources, {"a": 6, "b": 3, "c": 1}, seed=0, total=333)
    assert Counter(row["source"] for row in drawn.rows) == {"a": 200, "b": 100, "c": 33}
    assert [share.rows_drawn for share in drawn.shares.values()] == [200, 100, 33]
    assert drawn.shares["b"].share_asked == 0.3
    assert drawn.shares["b"].share_drawn == 100 / 333
    assert drawn.shares["c"].epochs == 33 / 50
    # Seeded, mixed and never the first rows.
    assert len(set(ids(drawn.rows))) == 333
    assert ids(drawn.rows) != ids(mixture.draw(sources, {"a": 6, "b": 3, "c": 1}, seed=1).rows)
    assert {f"a-{i}" for i in range(200)} != {i for i in ids(drawn.rows) if i.startswith("a")}
    assert len({row["source"] for row in drawn.rows[:50]}) == 3


def test_shares_by_tokens_count_the_length_of_the_rows() -> None:
    sources = {"short": rows("short", 800, words=2), "long": rows("long", 800, words=20)}
    drawn = mixture.draw(
        sources, {"short": 1, "long": 1}, seed=0, total=2000, weight_by="tokens", lengths=words
    )
    assert {name: share.units_drawn for name, share in drawn.shares.items()} == {
        "short": 1000,
        "long": 1000,
    }
    assert drawn.shares["short"].rows_drawn == 500 and drawn.shares["long"].rows_drawn == 50


def test_without_a_total_one_source_is_used_up_and_none_repeated() -> None:
    sources = {"a": rows("a", 100), "b": rows("b", 1000)}
    drawn = mixture.draw(sources, {"a": 0.3, "b": 0.7}, seed=0)
    assert drawn.shares["a"].epochs == 1.0
    assert drawn.shares["b"].rows_drawn == 233
    assert max(Counter(ids(drawn.rows)).values()) == 1


def test_a_source_that_is_used_up_is_repeated_evenly_and_the_epochs_are_told() -> None:
    sources = {"a": rows("a", 40), "b": rows("b", 100)}
    drawn = mixture.draw(sources, {"a": 1, "b": 1}, seed=0, total=180)
    times = Counter(i for i in ids(drawn.rows) if i.startswith("a"))
    assert drawn.shares["a"].epochs == 2.25
    assert Counter(times.values()) == {2: 30, 3: 10}
    assert drawn.shares["b"].epochs == 0.9


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 9), st.floats(0.05, 20)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["rows", "tokens", "trained_tokens"]),
    st.integers(0, 3),
    st.none() | st.integers(500, 900),
)
def test_realised_shares_are_within_a_row_of_the_asked_ones(
    spec: list[tuple[int, int, float]], unit: mixture.Unit, seed: int, total: int | None
) -> None:
    sources = {f"s{i}": rows(f"s{i}", n, words=size) for i, (n, size, _) in enumerate(spec)}
    weights = {f"s{i}": weight for i, (_, _, weight) in enumerate(spec)}
    try:
        drawn = mixture.draw(
            sources, weights, seed=seed, total=total, weight_by=unit, lengths=words
        )
    except DataError as error:
        assert "less than one row" in str(error)
        return
    whole = sum(share.units_drawn for share in drawn.shares.values())
    assert len(drawn.rows) == sum(share.rows_drawn for share in drawn.shares.values())
    if total and unit == "rows":
        assert whole == total
    for name, share in drawn.shares.items():
        longest = 1 if unit == "rows" else max(words(sources[name]))
        goal = share.share_asked * (total or whole)
        slack = longest if total else longest + 9 * len(spec)
        assert abs(share.units_drawn - goal) <= slack
        times = Counter(ids(r for r in drawn.rows if r["source"] == name))  # type: ignore[arg-type]
        assert max(times.values()) <= math.ceil(share.epochs)
        assert math.isclose(share.share_drawn, share.units_drawn / whole)
        if total is None:
            assert share.epochs <= 1


@pytest.mark.slow
@given(st.randoms(use_true_random=False), st.integers(0, 2))
def test_the_order_of_rows_keys_and_weights_changes_nothing(rng: random.Random, seed: int) -> None:
    sources = {"a": rows("a", 20), "b": rows("b", 30), "c": rows("c", 9)}
    weights = {"a": 0.1, "b": 0.2, "c": 0.7}
    expected = mixture.draw(sources, weights, seed=seed, total=40)

    def turned(row: Row) -> Row:
        items = list(copy.deepcopy(row).items())
        rng.shuffle(items)
        return dict(items)

    def shuffled(mapping: dict[str, Any]) -> dict[str, Any]:
        return dict(rng.sample(list(mapping.items()), len(mapping)))

    other = {name: [turned(r) for r in rng.sample(m, len(m))] for name, m in sources.items()}
    found = mixture.draw(shuffled(other), shuffled(weights), seed=seed, total=40)
    assert found.rows == expected.rows
    assert found.fingerprint == expected.fingerprint
    assert found.record()["shares"] == expected.record()["shares"]


def test_the_fingerprint_is_of_the_content_in_its_order() -> None:
    sources = {"a": rows("a", 30)}
    first = mixture.draw(sources, {"a": 1}, seed=0)
    changed = copy.deepcopy(sources)
    changed["a"][7]["messages"][-1]["content"] = "another"
    assert mixture.draw(changed, {"a": 1}, seed=0).fingerprint != first.fingerprint
    assert mixture.draw(sources, {"a": 1}, seed=1).fingerprint != first.fingerprint
    assert mixture.draw(sources, {"a": 2}, seed=0).fingerprint == first.fingerprint


def test_rows_with_one_id_are_told_apart_by_content() -> None:
    members = [{**row, "id": "same"} for row in rows("a", 30)]
    forwards = mixture.draw({"a": members}, {"a": 1}, seed=0, total=10).rows
    backwards = mixture.draw({"a": members[::-1]}, {"a": 1}, seed=0, total=10).rows
    assert forwards == backwards
    assert len({row["messages"][0]["content"] for row in forwards}) == 10


def test_near_duplicates_stay_in_the_earlier_source_and_are_counted_per_pair() -> None:
    sources = {
        "xlam": rows("xlam", 10, topic="shared"),
        "glaive": rows("glaive", 10),
        "apigen": [*rows("apigen", 30, topic="Shared  "), *rows("other", 5, topic="GLAIVE")],
    }
    drawn = mixture.draw(sources, dict.fromkeys(sources, 1), seed=0)
    assert drawn.duplicates == {
        "removed from apigen, kept in xlam": 10,
        "removed from apigen, kept in glaive": 5,
    }
    assert drawn.shares["apigen"].rows_available == 20
    # A source of weight 0 removes nothing.
    without = mixture.draw(sources, {"xlam": 0, "glaive": 1, "apigen": 1}, seed=0)
    assert without.duplicates == {"removed from apigen, kept in glaive": 5}
    assert list(without.shares) == ["glaive", "apigen"]


def test_the_near_duplicate_key_reads_the_last_user_text_and_the_tool_names() -> None:
    [row] = rows("a", 1)
    earlier = {"role": "user", "content": "before"}
    assert identity.near_key({**row, "messages": [earlier, *row["messages"]]}) == (
        identity.near_key(row)
    )
    twice = [*row["tools"], {"name": "look_up"}]
    assert identity.near_key({**row, "tools": twice}) == identity.near_key(row)
    assert identity.near_key({**row, "tools": []}) != identity.near_key(row)
    number = copy.deepcopy(row)
    number["messages"][0]["content"] = "a question -0"
    assert identity.near_key(number) != identity.near_key(row)
    assert identity.near_key({"messages": row["messages"][1:], "tools": []}) is None


@pytest.mark.parametrize(
    ("weights", "more", "sentence"),
    [
        ({"a": 0, "b": 0}, {}, "weights of the mixture sum to 0"),
        ({"a": 1, "b": -1}, {}, "weight of b is -1: it must be a number of at least 0"),
        ({"a": 1, "b": float("nan")}, {}, "weight of b is nan"),
        ({"a": 1, "b": float("inf")}, {}, "weight of b is inf"),
        ({"a": 1}, {}, "no weight for b: set one for each source"),
        ({"a": 1, "b": 1, "bb": 1}, {}, "weight of unknown source 'bb': did you mean 'b'?"),
        ({"a": 1, "b": 1, "none": 1}, {}, "source none has weight 1 but no rows"),
        ({"a": 1, "b": 1}, {"total": 0}, "size of the mixture is 0"),
        ({"a": 1, "b": 1000}, {"total": 9}, "source a: its share of 9 rows is less than one row"),
        ({"a": 1, "b": 1}, {"weight_by": "token"}, "did you mean 'tokens'?"),
        ({"a": 1, "b": 1}, {"weight_by": "tokens"}, "needs a tokenizer"),
        (
            {"a": 1, "b": 1},
            {"weight_by": "trained_tokens", "lengths": lambda members: [0] * len(members)},
            "source a: its rows contain no trained tokens",
        ),
        ({"a": 1, "b": 1, "copy": 1}, {}, "source copy: all its rows are near-duplicates"),
    ],
)
def test_weights_that_say_nothing_have_their_sentence(
    weights: dict[str, float], more: dict[str, Any], sentence: str
) -> None:
    sources = {"a": rows("a", 9), "b": rows("b", 9)}
    sources |= {"none": []} if "none" in weights else {}
    sources |= {"copy": rows("copy", 9, topic="a")} if "copy" in weights else {}
    with pytest.raises(DataError) as caught:
        mixture.draw(sources, weights, **{"seed": 0, **more})
    assert sentence in str(caught.value)


@given(
    st.integers(1, 200),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(1, 250),
    st.integers(0, 5),
)
def test_smaller_subsets_are_inside_larger_ones(
    count: int, one: float, other: float, limit: int, seed: int
) -> None:
    members = rows("a", count)
    parts: list[dict[str, Any]] = [{"fraction": one}, {"fraction": other}, {"limit": limit}]
    taken = []
    for part in parts:
        try:
            taken.append(ids(mixture.subset(members, seed=seed, **part)))
        except DataError:
            assert round(part["fraction"] * count) == 0
    for small, large in zip(sorted(taken, key=len), sorted(taken, key=len)[1:], strict=False):
        assert set(small) <= set(large)
    for chosen in taken:
        assert chosen == [i for i in ids(members) if i in set(chosen)]  # in their order
    assert len(taken[-1]) == min(limit, count)


def test_a_subset_is_random_seeded_and_independent_of_the_order() -> None:
    members = rows("a", 1000)
    tenth = set(ids(mixture.subset(members, fraction=0.1, seed=0)))
    assert len(tenth) == 100 and tenth != set(ids(members[:100]))
    assert tenth == set(ids(mixture.subset(members[::-1], fraction=0.1, seed=0)))
    assert tenth != set(ids(mixture.subset(members, fraction=0.1, seed=1)))
    assert tenth < set(ids(mixture.subset(members, fraction=0.3, seed=0)))
    assert len(mixture.subset(members, fraction=0.5, limit=20, seed=0)) == 20
    assert mixture.subset(members, limit=5000, seed=0) == members


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"fraction": 0}, "data.fraction=0: it must be above 0 and at most 1"),
        ({"fraction": 1.5}, "data.fraction=1.5"),
        ({"fraction": float("nan")}, "data.fraction=nan"),
        ({"fraction": 0.001}, "data.fraction=0.001 of 9 rows leaves no row"),
        ({"limit": 0}, "data.limit=0: it must be at least 1"),
    ],
)
def test_a_subset_of_nothing_has_its_sentence(part: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        mixture.subset(rows("a", 9), seed=0, **part)
    assert sentence in str(caught.value)

"""Test rows of files: fixed by their contents, or published, and never trained on."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from conftest import load
from experiments.data import sources
from experiments.data.sources import SourceRows
from experiments.errors import ConfigError, DataError

Row = dict[str, Any]


def said(number: int, text: str = "say") -> Row:
    return {"prompt": f"{text} {number}", "completion": f"{number}!"}


def write(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, *words: str) -> SourceRows:
    spec = load("data=jsonl", f"data.path={path}", "data.cache=null", *words).data
    [found] = sources.read_all(spec).values()
    return found


def prompts(found: SourceRows, split: str) -> list[str]:
    return [row["messages"][0]["content"] for row in found.splits.get(split, [])]


def published(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    write(folder / "train.jsonl", [said(i) for i in range(30)])
    write(folder / "test.jsonl", [said(i, "ask") for i in range(20)] + [said(3)])
    return folder


PUBLISHED = ("data.files=train*", "data.test_files=test*", "data.validation_rows=0")


def test_a_number_of_test_rows_is_the_same_whatever_the_order_and_the_training_rows(
    tmp_path: Path,
) -> None:
    rows = [said(i) for i in range(200)]
    words = ("data.test_rows=30", "data.validation_rows=10")
    first = read(write(tmp_path / "a.jsonl", rows), *words)
    assert [len(prompts(first, split)) for split in ("test", "validation", "train")] == [
        30,
        10,
        160,
    ]
    random.Random(1).shuffle(rows)
    shuffled = write(tmp_path / "b.jsonl", rows)
    for more in ((), ("data.limit=20",), ("data.fraction=0.1", "data.train_seed=5")):
        other = read(shuffled, *words, *more)
        for split in ("test", "validation"):
            assert prompts(other, split) == prompts(first, split)
        assert not set(prompts(other, "train")) & set(prompts(first, "test"))
    assert prompts(read(shuffled, "data.test_rows=50"), "test")[:30] == prompts(first, "test")


def test_more_rows_than_there_are_cannot_be_held_back(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [said(i) for i in range(20)])
    with pytest.raises(DataError, match=r"test_rows=30 and validation_rows=0 are to be held back"):
        read(path, "data.test_rows=30", "data.validation_rows=0")


def test_rows_of_the_published_test_split_are_tested_and_never_trained_on(tmp_path: Path) -> None:
    found = read(published(tmp_path), *PUBLISHED)
    assert len(prompts(found, "test")) == 21
    assert "say 3" not in prompts(found, "train") and len(prompts(found, "train")) == 29
    assert found.held_back_twins == 1
    assert set(found.files) == {"train.jsonl", "test.jsonl"}


def test_a_part_of_the_published_test_split_is_fixed_and_all_of_it_is_guarded(
    tmp_path: Path,
) -> None:
    folder = published(tmp_path)
    parts = [prompts(read(folder, *PUBLISHED, f"data.test_rows={n}"), "test") for n in (2, 10)]
    assert parts[0] == parts[1][:2] and len(parts[1]) == 10
    assert "say 3" not in parts[0]
    assert "say 3" not in prompts(read(folder, *PUBLISHED, "data.test_rows=2"), "train")


def test_a_file_alone_is_refused_where_a_published_test_split_belongs_to_it(tmp_path: Path) -> None:
    file = published(tmp_path) / "train.jsonl"
    with pytest.raises(DataError) as caught:
        read(file, *PUBLISHED)
    assert str(caught.value) == (
        f"data.path={file} is one file, but data is evaluated on its published split (test*): give "
        "the folder that contains both, or hold out rows of the file with data.test_files=null "
        "data.test_rows=300."
    ).replace("but data is", "but jsonl is")
    assert len(prompts(read(file, "data.test_rows=5"), "test")) == 5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("data.test_rows=3", "data.test_share=0.1"), "set only one of them"),
        (("data.files=a*", "data.test_files=b*", "data.test_share=0.1"), "set only one of them"),
        (("data.test_files=b*",), "data.test_files needs data.files"),
        (("data.test_rows=-1",), "data.test_rows=-1: must be at least 0"),
        (("data.named=[x]",), "data.named=['x'] needs a mixture"),
    ],
)
def test_contradicting_or_unused_keys_are_refused(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("data=jsonl", "data.path=x", *words)
    assert sentence in str(caught.value)


def test_a_mixture_of_real_sets_has_only_those_that_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "gsm8k"
    rows = [{"question": f"{i} + 1?", "answer": f"So\n#### {i + 1}"} for i in range(60)]
    write(folder / "train.jsonl", rows[:40])
    write(folder / "test.jsonl", rows[40:])
    say = [{"role": "assistant", "content": "Hello"}]
    turns = [[{"role": "user", "content": f"Hi {i}"}, *say] for i in range(50)]
    xlam = write(tmp_path / "xlam.jsonl", [{"messages": m} for m in turns])
    spec = load(
        *("data=mixed_real", "data.named=[xlam,gsm8k]", "data.cache=null"),
        *(f"data.sources.xlam.path={xlam}", "data.sources.xlam.test_rows=7"),
        *(f"data.sources.gsm8k.path={folder}", "data.sources.gsm8k.test_rows=5"),
    ).data
    assert list(spec.sources) == ["xlam", "gsm8k"] and spec.named is None
    found = sources.read_all(spec)
    assert {name: len(prompts(rows, "test")) for name, rows in found.items()} == {
        "xlam": 7,
        "gsm8k": 5,
    }
    with pytest.raises(ConfigError, match=r"data\.named=gsm: did you mean 'gsm8k'\?"):
        load("data=mixed_real", "data.named=[gsm]")

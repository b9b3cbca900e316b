"""Rows of a file or a dataset folder are read one by one, exactly, or refused with their place."""

import gzip
import hashlib
import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from experiments.data import json_stream, raw_files
from experiments.errors import DataError

ROWS: list[dict[str, Any]] = [{"id": 1, "q": "eins ä"}, {"id": 2, "q": "zwei\nLücken"}]


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path, *patterns: str, split: str | None = None) -> list[dict[str, Any]]:
    return [row for _, row in raw_files.read_rows(path, patterns, split)]


def refusal(path: Path, *patterns: str, split: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(path, *patterns, split=split)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz"])
def test_json_lines_are_read_under_every_ending(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b"\xef\xbb\xbf" + lines(*ROWS).replace(b"\n", b"\r\n\n"))
    found = list(raw_files.read_rows(path))
    assert [row for _, row in found] == ROWS
    assert [where for where, _ in found] == [f"{path}, line 1", f"{path}, line 3"]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
@pytest.mark.parametrize("indent", [None, 2])
def test_one_array_is_read_member_by_member(tmp_path: Path, name: str, indent: int | None) -> None:
    text = b"\xef\xbb\xbf\n " + json.dumps(ROWS, indent=indent).encode() + b"\n"
    path = write(tmp_path / name, text)
    found = list(raw_files.read_rows(path))
    assert [row for _, row in found] == ROWS
    assert found[1][0] == f"{path}, row 2"


_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
_json = st.recursive(
    _leaves | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(
    st.lists(st.dictionaries(st.text(max_size=4), _json, max_size=4), max_size=6),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_any_array_is_read_the_same_wherever_a_chunk_ends(
    rows: list[dict[str, Any]], chunk: int, indent: int | None
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK_BYTES", chunk)
        found = [row for _, row in json_stream.array_items(io.BytesIO(text), "a.json")]
    assert found == rows


def test_a_large_array_is_read_with_bounded_memory(tmp_path: Path) -> None:
    row = {"text": "word " * 400}
    path = write(tmp_path / "big.json", json.dumps([row] * 10_000).encode())
    assert path.stat().st_size > 20e6
    tracemalloc.start()
    count = sum(1 for _ in raw_files.read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 8e6


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_every_digit_of_a_number_survives(tmp_path: Path, name: str) -> None:
    rng = random.Random(0)
    values = [0.3, 0.1 + 0.2, 5e-324, 1e22, -0.0, *(rng.uniform(-1e3, 1e3) for _ in range(200))]
    rows = [{"arguments": {"x": value}} for value in values]
    path = tmp_path / name
    if name.endswith("parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        write(path, json.dumps(rows).encode() if name == "a.json" else lines(*rows))
    assert [repr(row["arguments"]["x"]) for row in read(path)] == [repr(v) for v in values]


def test_the_keys_that_arrow_adds_to_objects_do_not_reach_a_row(tmp_path: Path) -> None:
    rows = [
        {"tools": [{"name": "a", "parameters": {"x": 1}}], "note": None},
        {"tools": [{"name": "b", "parameters": {"y": {"z": "2"}}}, {"name": "c"}], "note": "n"},
    ]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    assert parquet.read_table(path).to_pylist() != rows
    found = list(raw_files.read_rows(path))
    assert [row for _, row in found] == rows
    assert found[1][0] == f"{path}, row 2"


BIG = b'{"q": "' + b"x" * 2_000_001 + b'"}'


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "a.jsonl is empty: give"),
        ("a.jsonl", b"\n \n", "a.jsonl contains no rows"),
        ("a.json", b" [ ] ", "a.json contains no rows"),
        ("a.jsonl", b'{"q": 1}\n{"q": \n', "a.jsonl, line 2: not JSON (Expecting value"),
        ("a.jsonl", b"[1, 2]\n", "line 1: a JSON list instead of an object"),
        ("a.jsonl", b'{"q": NaN}\n', "line 1: not JSON (NaN is not a JSON number)"),
        ("a.jsonl", b"[" * 200_000, "line 1: not JSON (nested too deeply)"),
        ("a.jsonl", b'{"q": 1}\n{"q": "a\0b"}\n', "line 2: contains a NUL byte"),
        ("a.jsonl", b'{"q": "\xff"}\n', "line 1: not UTF-8 (byte 0xff)"),
        ("a.jsonl", '{"q": 1}\n'.encode("utf-16"), "line 1: contains a NUL byte"),
        ("a.jsonl", b'{"q": "\\ud83d"}\n', "line 1: an unpaired surrogate"),
        ("a.jsonl", b'{"q": 1}\n' + BIG, "line 2: the row exceeds 2 MB"),
        ("a.jsonl.gz", b'{"q": 1}\n' + BIG, "line 2: the row exceeds 2 MB"),
        ("a.json", b'[{"q": 1}, ' + BIG + b"]", "row 2: the row exceeds 2 MB"),
        ("a.json", b'[{"q": 1}, {"q": "' + b"x" * 9_000_000, "row 2: the row exceeds 2 MB"),
        (
            "a.json",
            b'[{"q": "\xc3\xa4' + b"\xc3\xa4" * 1_000_000 + b'"}]',
            "row 1: the row exceeds",
        ),
        ("a.json", b'[{"q": 1}, {"q": }]', "row 2: not JSON (Expecting value"),
        ("a.json", b'[{"q": 1}, {"q": }, ' + BIG, "row 2: not JSON (Expecting value"),
        ("a.json", b'[{"q": 1}, 7]', "row 2: a JSON int instead of an object"),
        ("a.json", b'[{"q": 1}', "row 2: not JSON (the end of the file instead of ',')"),
        ("a.json", b'[{"q": 1} {"q": 2}]', "row 2: not JSON ('{' instead of ',')"),
        ("a.json", b'[{"q": 1}] x', "a.json: not JSON (text after the array)"),
        ("a.json", b'[{"q": "a\0b"}]', "row 1 or shortly after: contains a NUL byte"),
        ("a.json", b'[{"q": "\xff"}]', "row 1 or shortly after: not UTF-8"),
        ("a.json", b'{\n "data": []\n}', "line 1: not JSON"),
        ("a.parquet", b"PAR1 no parquet", "a.parquet: not a readable parquet file after row 0"),
        ("a.csv", b"q,a\n", "supported formats are .jsonl, .json, .parquet"),
        (
            "a.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a Git LFS pointer, not the data: run git lfs pull",
        ),
    ],
)
def test_a_damaged_file_is_named_with_the_row(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    path = write(tmp_path / name, content)
    assert sentence in refusal(path)
    assert "\n" not in refusal(path)


def test_a_cut_off_archive_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", lines(*ROWS * 900))
    path.write_bytes(path.read_bytes()[:-20])
    assert "a.jsonl.gz: cannot be read" in refusal(path)
    path.write_bytes(b"no archive")
    assert "a.jsonl.gz: cannot be read (Not a gzipped file" in refusal(path)


def test_a_cut_off_parquet_file_and_a_large_row_in_one_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_pylist([{"q": "a"}, {"q": "x" * 2_000_001}]), path)
    assert "a.parquet, row 2: the row exceeds 2 MB" in refusal(path)
    path.write_bytes(path.read_bytes()[:-8])
    assert "a.parquet: not a readable parquet file" in refusal(path)


def test_an_escaped_nul_inside_a_text_is_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"q": "a\\u0000b", "e": "\\ud83d\\ude00"}\n')
    assert read(path) == [{"q": "a\0b", "e": "\N{GRINNING FACE}"}]


def test_a_folder_in_hub_layout_is_read_by_patterns(tmp_path: Path) -> None:
    write(tmp_path / "README.md", b"card")
    write(tmp_path / ".cache" / "x.json", b"{}")
    write(tmp_path / "dataset_infos.json", b"{}")
    write(tmp_path / "glaive-5k.json", json.dumps(ROWS).encode())
    write(tmp_path / "more" / "func-calling.json", lines({"id": 3}))
    assert read(tmp_path) == [*ROWS, {"id": 3}]
    assert read(tmp_path, "func-calling.json", "*/func-calling.json") == [{"id": 3}]
    assert read(tmp_path, "glaive*") == ROWS
    missing = refusal(tmp_path, "json-mode.json")
    assert "contains no data file matching json-mode.json" in missing
    assert "it contains README.md, dataset_infos.json, glaive-5k.json" in missing


def test_splits_are_told_by_file_names_and_never_mixed_by_accident(tmp_path: Path) -> None:
    for split in ("train", "test", "validation"):
        write(tmp_path / "data" / f"{split}-00000-of-00001.jsonl", lines({"split": split}))
    assert "contains the splits test, train, validation: choose one" in refusal(tmp_path)
    assert read(tmp_path, split="test") == [{"split": "test"}]
    assert read(tmp_path, split="train") == [{"split": "train"}]
    assert read(tmp_path, "data/train*") == [{"split": "train"}]
    write(tmp_path / "data" / "train.parquet", b"")
    assert "contains rows as .jsonl and .parquet" in refusal(tmp_path, split="train")


def test_a_path_that_is_not_there_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    assert "nowhere: there is no such file or folder" in refusal(tmp_path / "nowhere")
    assert "contains no data file; it is empty" in refusal(tmp_path)


def test_the_sha256_is_of_the_bytes_and_follows_a_change(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b"one")
    assert raw_files.sha256(path) == hashlib.sha256(b"one").hexdigest()
    write(path, b"other")
    assert raw_files.sha256(path) == hashlib.sha256(b"other").hexdigest()


def test_every_float_of_real_rows_keeps_its_digits(shared: Path) -> None:
    path = shared / "converted" / "xlam_822.jsonl"

    def numbers(value: Any) -> list[str]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return [text for inner in value for text in numbers(inner)]
        return [value[7:]] if isinstance(value, str) and value.startswith("number ") else []

    found = read(path)
    assert len(found) == 822
    for line, row in zip(path.read_text(encoding="utf-8").splitlines(), found, strict=True):
        marked = json.loads(line, parse_float=lambda digits: f"number {float(digits)!r}")
        again = json.loads(json.dumps(row), parse_float=lambda digits: f"number {digits}")
        assert numbers(marked) == numbers(again)

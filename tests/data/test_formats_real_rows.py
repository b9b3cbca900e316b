"""Real rows: nothing is lost, and the result is what the converted files hold, byte for byte."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.data.formats import Rejected, convert

Row = dict[str, Any]
CONVERTED = [
    *("api_bank", "glaive_300", "seal_tools_dev", "seal_tools_test_in_domain"),
    *("seal_tools_test_out_domain", "sgd_dev_300", "sgd_train_2000", "xlam_822"),
]
RAW = [
    ("glaive_v2", "glaive_v2/row_verbatim", 1),
    ("glaive_v1", "glaive_v1/row_shape", 1),
    ("hermes", "hermes/row0_singleturn", 3),
    ("hermes", "hermes_thinking/row", 2),
    ("when2call", "when2call/train_sft_row", 0),
    ("when2call", "when2call/train_pref_row", 0),
    ("xlam", "argilla_apigen/row", 2),
]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def said(row: Row) -> str:
    """Return messages and tools as text, so that order and digits count too."""
    tools = row["tools"]
    tools = json.loads(tools) if isinstance(tools, str) else tools
    return json.dumps([row["messages"], tools])


def calls(row: Row) -> list[Row]:
    return [c["function"] for m in row["messages"] for c in m.get("tool_calls", [])]


@pytest.mark.parametrize("name", CONVERTED)
def test_every_converted_row_is_kept_as_it_is(shared: Path, name: str) -> None:
    for line in lines(shared / "converted" / f"{name}.jsonl"):
        raw = json.loads(line)
        row = convert("messages", raw, "fallback")
        assert (row["id"], row["source"]) == (raw["id"], raw["source"])
        assert said(row) == said(raw)


@pytest.mark.parametrize(
    ("name", "file"),
    [("glaive_v2", "glaive_v2/rows_rebuilt_300"), ("sharegpt", "glaive_sharegpt/rows_300")],
)
def test_glaive_rows_equal_the_converted_ones(shared: Path, name: str, file: str) -> None:
    wanted = lines(shared / "converted" / "glaive_300.jsonl")
    given = lines(shared / "raw" / f"{file}.jsonl")
    for number, (raw, converted) in enumerate(zip(given, wanted, strict=True)):
        row = convert(name, json.loads(raw), f"row-{number}")
        assert said(row) == said(json.loads(converted))
        assert row["id"] == f"row-{number}"


def test_xlam_rows_equal_the_converted_ones_and_three_miss_an_argument(shared: Path) -> None:
    wanted = {
        row["id"]: said(row)
        for row in map(json.loads, lines(shared / "converted" / "xlam_822.jsonl"))
    }
    rejected = {}
    for line in lines(shared / "raw" / "xlam" / "rows_290.jsonl"):
        raw = json.loads(line)
        try:
            row = convert("xlam", raw, "fallback")
        except Rejected as error:
            rejected[raw["id"]] = error.reason
        else:
            assert said(row) == wanted[f"xlam-{row['id']}"]
    assert rejected == dict.fromkeys((35544, 50919, 59686), "missing_required_argument")


def test_every_float_of_xlam_keeps_its_digits(shared: Path) -> None:
    floats = re.compile(r"-?\d+(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+)")
    count = 0
    for line in lines(shared / "converted" / "xlam_822.jsonl"):
        raw = json.loads(line)
        written: list[str] = []
        kept: list[str] = []
        json.loads(line, parse_float=written.append)
        row = convert("messages", raw, "fallback")
        told = json.dumps([call["arguments"] for call in calls(row)])
        json.loads(told, parse_float=kept.append)
        assert kept == written
        assert all(floats.fullmatch(text) for text in kept)
        count += len(kept)
    assert count > 100


@pytest.mark.parametrize(("name", "file", "count"), RAW)
def test_rows_as_published_convert(shared: Path, name: str, file: str, count: int) -> None:
    for line in lines(shared / "raw" / f"{file}.jsonl"):
        row = convert(name, json.loads(line), "row")
        assert len(calls(row)) == count
        assert row["messages"][0]["role"] == "user"
        assert row["messages"][-1]["role"] == "assistant"
        assert row["tools"]


def test_apostrophes_of_the_published_row_survive(shared: Path) -> None:
    [line] = lines(shared / "raw" / "glaive_v2" / "row_verbatim.jsonl")
    [call] = calls(convert("glaive_v2", json.loads(line), "row"))
    assert call["arguments"]["reminder_text"] == "Doctor's appointment"


def test_thoughts_of_the_published_row_become_reasoning(shared: Path) -> None:
    [line] = lines(shared / "raw" / "hermes_thinking" / "row.jsonl")
    row = convert("hermes", json.loads(line), "row")
    thinking = [m for m in row["messages"] if "reasoning_content" in m]
    assert len(thinking) == 2
    assert all(m["tool_calls"] and not m["content"] for m in thinking)
    assert "<think>" not in json.dumps(row["messages"])

"""From a data description to the rows of a run: sources, splits, mixtures, cache, the data verb."""

import json
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Cli, environment, load
from experiments import config
from experiments.config import DataConfig
from experiments.data import cache, formats, sources
from experiments.data.encoding import EncodedSource
from experiments.data.rendering import Encoded
from experiments.errors import ConfigError, DataError
from support import commands
from support.cached_rows import build, from_cache

NO_HOLD = ("data.validation_share=0", "data.test_share=0")


def rows(count: int, word: str = "say", **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"{word} {i}", "completion": f"{word} {i}!", **more} for i in range(count)]


def write(path: Path, members: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in members), encoding="utf-8")
    return path


def mixture(tmp_path: Path, *more: str) -> tuple[str, ...]:
    """Describe a mixture of two files, 40 and 20 rows, of which five are in both."""
    first = write(tmp_path / "first.jsonl", rows(40, "one"))
    second = write(tmp_path / "second.jsonl", rows(15, "two") + rows(5, "ONE"))
    files = {"first": first, "second": second}
    described = [
        text
        for name, path in files.items()
        for text in (
            f"+data@data.sources.{name}=jsonl",
            f"data.sources.{name}.path={path}",
            f"data.sources.{name}.weight=1",
        )
    ]
    return ("data=mixture", "data.cache=null", *described, *NO_HOLD, *more)


def test_the_formats_of_the_config_are_those_that_can_be_converted() -> None:
    assert set(config.FORMATS) == set(formats.FORMATS)


def test_a_mixture_leaves_near_duplicates_to_the_earlier_source_and_states_its_shares(
    tmp_path: Path,
) -> None:
    built = build(*mixture(tmp_path))
    mixed = built.counts["mixture"]
    assert mixed["duplicates"] == {"removed from second, kept in first": 5}
    assert {name: share["rows_drawn"] for name, share in mixed["shares"].items()} == {
        "first": 15,
        "second": 15,
    }
    assert mixed["shares"]["second"]["epochs"] == 1
    assert len(built.train) == 30


@pytest.mark.slow
def test_a_mixture_follows_its_weights_in_the_unit_they_are_given_in(tmp_path: Path) -> None:
    more = ("data.sources.second.weight=3", "data.total=40")
    shares = build(*mixture(tmp_path, *more)).counts["mixture"]["shares"]
    assert {name: share["rows_drawn"] for name, share in shares.items()} == {
        "first": 10,
        "second": 30,
    }
    by_tokens = build(*mixture(tmp_path, "data.weight_by=trained_tokens")).counts["mixture"]
    assert all(abs(s["share_drawn"] - 0.5) < 0.05 for s in by_tokens["shares"].values())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ["data.sources.first.weight=0", "data.sources.second.weight=0"],
            "all weights of data.sources are 0",
        ),
        (["data.sources.first.weight=-1"], "must be a number of at least 0"),
        (["data.weight_by=bytes"], "data.weight_by=bytes"),
        (["data.fraction=0.1"], "data.fraction=0.1 would not be used"),
        (["data.weight=2"], "only used for sources of a mixture"),
        (["data.path=x.jsonl"], "set it on a source of the mixture"),
        (["data.sources.first.path=null"], "data.sources.first.path is not set"),
        (["data.sources.first.format=xlm"], "data.sources.first.format=xlm"),
    ],
)
def test_a_mixture_that_makes_no_sense_has_its_sentence(
    tmp_path: Path, more: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*mixture(tmp_path, *more))
    assert sentence in str(caught.value)


def test_training_rows_of_an_evaluation_set_are_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows(20))
    test = write(tmp_path / "bench.jsonl", rows(3, "SAY") + rows(5, "other"))
    named = ("+data@data.test_sources.bench=jsonl", f"data.test_sources.bench.path={test}")
    with pytest.raises(DataError, match=r"3 of \d+ training rows also occur in data\.test_sources"):
        build("data=jsonl", f"data.path={train}", *named, "data.cache=null")
    apart = write(tmp_path / "apart.jsonl", rows(20, "apart"))
    built = build("data=jsonl", f"data.path={apart}", *named, "data.cache=null")
    assert len(built.splits["test"]) == 8
    assert {e.row["source"] for e in built.splits["test"]} == {"bench"}


def test_a_set_for_evaluation_only_is_refused_by_name() -> None:
    spec = load("data=when2call", "data.files='*test*'").data
    with pytest.raises(DataError, match="it is for evaluation only"):
        sources.locate(spec)


def test_the_held_back_rows_are_the_same_at_every_fraction(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", rows(200))
    found = {
        part: build("data=jsonl", f"data.path={path}", "data.cache=null", f"data.fraction={part}")
        for part in (0.1, 0.3, 1.0)
    }
    ids = {part: {e.row["id"] for e in built.train} for part, built in found.items()}
    assert ids[0.1] < ids[0.3] < ids[1.0]
    assert len(ids[0.1]) == 18
    assert len({str([e.row["id"] for e in built.splits["test"]]) for built in found.values()}) == 1


def test_a_row_that_is_also_held_back_is_left_out_of_training(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", rows(50) * 2)
    built = build("data=jsonl", f"data.path={path}", "data.cache=null", "data.test_share=0.2")
    asked = {e.row["keys"]["prompt"] for e in built.train}
    assert not asked & {e.row["keys"]["prompt"] for e in built.splits["test"]}
    assert built.counts["sources"]["jsonl"]["held_back_twins"] > 0


def test_an_unknown_subset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"data\.subset=func_caling.*func_calling"):
        load("data=hermes_v1", "data.subset=func_caling")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.system_prompt=unify"], "data.unified_system_prompt is not set"),
        (["data.columns.prompt=q"], "data.columns would not be used"),
        (["data.distractors=2"], "only used with data.tools_shown=gold_plus_k"),
        (["data.tools_shown=some"], "data.tools_shown=some"),
    ],
)
def test_options_that_need_another_one_say_so(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    assert sentence in str(caught.value)


def test_distractors_and_a_unified_system_prompt_reach_the_rows() -> None:
    small = ("data.train_rows=36", "data.validation_rows=0", "data.test_rows=36")
    none = ("data.unseen_values_rows=0", "data.unseen_tools_rows=0")
    more = ("data.tools_shown=gold_plus_k", "data.distractors=0", "data.weights.json_output=0")
    prompt = ("data.system_prompt=unify", "data.unified_system_prompt=Be brief.")
    built = build(*small, *none, *more, *prompt)
    assert all(e.row["category"] != "json_output" for e in built.train)
    asked = [e for e in built.splits["test"] if "schema" not in e.row]  # which keep their own
    for encoded in asked:
        assert encoded.row["messages"][0] == {"role": "system", "content": "Be brief."}
        if encoded.row["category"] == "choice":
            assert len(encoded.row["tools"]) == 1


def test_rows_from_the_cache_are_the_rows_that_were_made(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", rows(60))
    plain = build("data=jsonl", f"data.path={path}", "data.cache=null")
    made, read = (from_cache(tmp_path / "cache", path) for _ in range(2))
    assert made == read == (plain.fingerprint, len(plain.train))
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1
    write(path, rows(61))
    assert from_cache(tmp_path / "cache", path)[1] > made[1]


# Builds once both processes are ready, and prints what it found.
TOGETHER = """
import sys, time
from pathlib import Path
from support.cached_rows import from_cache
folder, path, own, other = map(Path, sys.argv[1:])
own.touch()
while not other.exists():
    time.sleep(0.001)
print(*from_cache(folder, path))
"""


@pytest.mark.slow
def test_two_processes_that_start_together_make_the_rows_once(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", rows(2000))
    folder, ready = tmp_path / "cache", [tmp_path / "a", tmp_path / "b"]
    started = [
        commands.Popen(
            [sys.executable, "-c", TOGETHER, *map(str, (folder, path, *order))],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(PYTHONPATH=str(ROOT / "tests")),
        )
        for order in (ready, ready[::-1])
    ]
    first, second = (process.communicate(timeout=120)[0].splitlines() for process in started)
    assert first[-1] == second[-1]
    made = [line for line in first + second if "encoded the rows and cached them in" in line]
    [file] = folder.glob("*.safetensors")
    assert len(made) == 1 and made[0].endswith(str(file))


@pytest.mark.parametrize("damage", [b"", b"not a tensor", None])
def test_a_damaged_cache_file_is_made_again(tmp_path: Path, damage: bytes | None) -> None:
    calls: list[int] = []

    def made() -> EncodedSource:
        calls.append(1)
        row = Encoded({"id": "a"}, array("i", [1, 2, 3]), ((1, 3),), 1)
        return EncodedSource({"train": [row], "test": []}, {"files": {}})

    cache.cached(tmp_path, {"a": 1}, made)
    [file] = tmp_path.glob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\xff" * 4 if damage is None else damage)
    again, from_disk = cache.cached(tmp_path, {"a": 1}, made)
    assert not from_disk and len(calls) == 2
    read, from_disk = cache.cached(tmp_path, {"a": 1}, made)
    assert from_disk and len(calls) == 2
    assert read.splits == again.splits and read.facts == again.facts


def test_the_data_verb_marks_what_is_trained_and_counts(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*rows(20), {"prompt": "no", "completion": ""}])
    out, rejects = tmp_path / "out.jsonl", tmp_path / "rejects.jsonl"
    done = cli(
        *("data", "data=jsonl", f"data.path={path}", "--show", "1", "data.cache=null"),
        *("--out", str(out), "--rejects", str(rejects)),
        module=True,
    )
    assert done.returncode == 0, done.stderr
    assert "\u27e6say " in done.stdout and "!<|im_end|>\u27e7" in done.stdout
    assert "jsonl: 20 rows kept, 1 rejected" in done.stdout
    assert "rejected, empty_turn: 1" in done.stdout
    assert "tokens p50" in done.stdout
    assert len(out.read_text().splitlines()) == 20
    [rejected] = map(json.loads, rejects.read_text().splitlines())
    assert rejected["reason"] == "empty_turn" and rejected["row"]["prompt"] == "no"


@pytest.mark.slow
def test_the_data_verb_converts_without_a_model(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", rows(20))
    done = cli(
        *("data", "data=jsonl", f"data.path={path}", "model=qwen3_1_7b", "--show", "1"),
        module=True,
        HF_HUB_OFFLINE="1",
    )
    assert done.returncode == 0, done.stderr
    assert "20 rows kept, 0 rejected" in done.stdout
    assert "tokens not counted: model.hub_id=Qwen/Qwen3-1.7B" in done.stdout


@pytest.mark.slow
def test_a_gated_set_without_a_network_is_refused_in_one_sentence(cli: Cli) -> None:
    done = cli("data", "data=xlam_60k", module=True, HF_HUB_OFFLINE="1", HF_HOME="/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: dataset Salesforce/xlam-function-calling-60k")
    assert "data.path=FOLDER" in done.stderr and "Traceback" not in done.stderr


def test_every_source_of_a_description_has_the_same_fields_as_the_config() -> None:
    assert isinstance(load("data=mixed_hub").data, DataConfig)
    assert list(load("data=mixed_hub").data.sources) == [
        *("glaive_v2", "xlam_60k", "hermes_v1", "builtin_restraint")
    ]


def test_the_columns_of_alpaca_are_read_and_others_are_named_once(tmp_path: Path) -> None:
    members = [
        {"instruction": f"Say {i}", "input": "now", "output": f"{i}!", "topic": "x", "empty": ""}
        for i in range(4)
    ]
    path = write(tmp_path / "own.jsonl", members)
    for own in ((), ("data.columns.prompt=instruction", "data.columns.completion=output")):
        spec = load("data=jsonl", f"data.path={path}", *NO_HOLD, *own).data
        [found] = sources.read_all(spec).values()
        assert {row["messages"][0]["content"] for row in found.rows} == {
            f"Say {i}\nnow" for i in range(4)
        }
        assert found.unused_columns == {"topic": 4}


def test_completions_that_look_like_calls_are_counted(tmp_path: Path) -> None:
    calls = ['{"name": "f", "arguments": {}}', "<tool_call>{}", "[f(x=1)]", "{sic}", "[1] says"]
    members = [{"prompt": f"say {i}", "completion": text} for i, text in enumerate(calls)]
    path = write(tmp_path / "own.jsonl", members)
    spec = load("data=jsonl", f"data.path={path}", *NO_HOLD, "data.max_reject_share=1").data
    [found] = sources.read_all(spec).values()
    assert found.completions_like_calls + found.rejected.total() == 3


def test_rows_marked_as_not_to_be_trained_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", [row | {"weight": i % 2} for i, row in enumerate(rows(4))])
    spec = load("data=jsonl", f"data.path={path}", *NO_HOLD).data
    [found] = sources.read_all(spec).values()
    assert (len(found.rows), found.rejected.total()) == (2, 0)
    assert list(found.not_trained.values()) == [2]

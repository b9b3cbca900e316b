"""A file of plan pairs in, one verdict a line out, whatever the lines hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Cli, environment
from experiments.analysis import plan_graph_scores
from experiments.cli.main import main
from experiments.errors import DataError, RecordError

PAIR = {"label": '1. open_note()\n2. send_sms("$1")', "pred": '1. open_note()\n2. send_sms("$1")'}


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_all_upstream_verdicts_come_out_of_the_command_in_order(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = shared / "tinyagent_pairs" / "pairs.jsonl", tmp_path / "new" / "out.jsonl"
    arguments = ["score", "--benchmark", "plan_graph", "--pairs", str(file), "--out", str(out)]
    assert main([*arguments, "--quirks"]) == 0
    wanted = [
        {"success": bool(pair.get("success")), "error": pair.get("error")} for pair in written(file)
    ]
    assert written(out) == wanted
    assert "139 of 212 pairs succeed" in capsys.readouterr().out
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "canonical rules): 140 of 212 pairs succeed" in printed
    assert "2 with OutOfRange, for example OutOfRange: step 2 refers to $" in printed


def test_broken_lines_are_counted_and_named_in_their_place(tmp_path: Path) -> None:
    broken = {
        b'{"label": "1. a()", "pred": "1. a': "is not JSON, or is nested too deeply",
        b"[" * 10_000 + b"]" * 10_000: "is not JSON, or is nested too deeply",
        b"\xff\xfe": "is not UTF-8",
        b"[1]": "is not a JSON object",
        b'{"label": "1. a()"}': "has no pred",
        b'{"label": 1, "pred": ""}': "has a label that is neither plan text nor a list of calls",
    }
    good = json.dumps(PAIR).encode()
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    pairs.write_bytes(b"\n".join([good, *broken, b"", good + b"\r", b""]))
    counts = plan_graph_scores.score_pairs(pairs, out)
    verdicts = written(out)
    assert [v["success"] for v in verdicts] == [True, *[False] * len(broken), True]
    for at, (words, verdict) in enumerate(zip(broken.values(), verdicts[1:], strict=False), 2):
        assert verdict["error"] == f"BrokenLine: line {at} {words}"
    assert "2 of 8 pairs succeed" in counts
    assert "6 with BrokenLine" in counts


def test_lone_surrogates_and_calls_are_scored(tmp_path: Path) -> None:
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    calls = [{"name": "\ud800", "arguments": {}}, {"name": "g", "arguments": {"x": "$var\ud800$"}}]
    rows = [
        {"label": PAIR["label"], "pred": '1. open_note("\ud800")\n2. send_sms("\ud800 $1")'},
        {"label": PAIR["label"], "pred": '1. open_note()\n2. send_sms("\ud800 $9")'},
        {"label": calls, "pred": calls},
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert "2 of 3" in plan_graph_scores.score_pairs(pairs, out)
    assert [v["success"] for v in written(out)] == [True, False, True]


def test_mistakes_are_one_sentence(tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(DataError, match=r"--pairs .*absent: No such file or directory; name a"):
        plan_graph_scores.score_pairs(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "empty").write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match="is empty: give one JSON object"):
        plan_graph_scores.score_pairs(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "pairs").write_text(json.dumps(PAIR), encoding="utf-8")
    with pytest.raises(RecordError, match=r"free some space or choose another --out\."):
        plan_graph_scores.score_pairs(tmp_path / "pairs", tmp_path / "pairs" / "out")
    done = cli("score", "--benchmark", "plan_graph", "--out", "out", module=True)
    assert done.returncode == 1
    assert done.stderr == "error: --benchmark plan_graph needs --pairs: see score --help.\n"


def test_scoring_loads_no_model_library(tmp_path: Path) -> None:
    (tmp_path / "pairs").write_text(json.dumps(PAIR), encoding="utf-8")
    code = (
        "import sys; from experiments.cli.main import main; "
        "main(['score', '--benchmark', 'plan_graph', '--pairs', 'pairs', '--out', 'out']); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"

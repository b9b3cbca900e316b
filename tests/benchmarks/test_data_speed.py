"""100,000 rows in the layout of glaive-v2: converted, encoded, cached; figures are printed."""

import json
import subprocess
import sys
import time
from pathlib import Path

from conftest import SHARED, environment
from experiments import models
from experiments.data.formats import convert

ROWS = 100_000
PROGRAM = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[3])
from conftest import load
from experiments import data, models
run = load("data=glaive_v2", f"data.path={sys.argv[1]}", "data.files=null",
           f"data.cache={sys.argv[2]}", *sys.argv[4:])
vocabulary = models.load_vocabulary(run.model)
began = time.perf_counter()
built = data.build(run, vocabulary.tokenizer, end_ids=vocabulary.end_ids, positions=32768)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, peak * 1024, sum(built.counts["rows"].values())]))
"""


def glaive_row(i: int) -> dict[str, str]:
    """Return a conversation of the usual size, a third of them with a call."""
    tool = {
        "name": f"tool_{i % 97}",
        "description": "Look something up for the user and return what was found",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "what to look for"}},
            "required": ["query"],
        },
    }
    talk = "The order will arrive on a sunny day in May near our port, as the letter said. " * 6
    call = (
        f'ASSISTANT: <functioncall> {{"name": "tool_{i % 97}", "arguments": '
        f'\'{{"query": "the owner\'s order {i}"}}\'}} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"found": "yes"}\n\n\n'
    )
    chat = f"USER: Tell me about {i}. {talk}\n\n\n" + (call if i % 3 == 0 else "")
    return {
        "system": "SYSTEM: You are a helpful assistant with access to the following functions. "
        f"Use them if required -\n{json.dumps(tool, indent=4)}\n",
        "chat": f"{chat}ASSISTANT: {talk} <|endoftext|>\n\n\n",
    }


def build(path: Path, folder: Path, *more: str) -> tuple[float, float, int]:
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(folder), str(tests), *more],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    seconds, peak, rows = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak, rows


def test_print_the_time_and_memory_of_100_000_rows(tmp_path: Path) -> None:
    rows = [glaive_row(i) for i in range(ROWS)]
    began = time.process_time()
    for number, row in enumerate(rows):
        convert("glaive_v2", row, str(number))
    seconds = time.process_time() - began
    print(f"\nconverted {ROWS / seconds:,.0f} rows/s on one core")
    path = tmp_path / "glaive.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    own = SHARED / "data" / "tokenizers" / "qwen3"
    template = models.BASES / "tiny" / "chat_template.jinja"
    more = ["model=local", f"model.path={own}", f"model.chat_template={template}"]
    chosen = more if own.is_dir() else []
    for name in ("made", "from the cache"):
        seconds, peak, kept = build(path, tmp_path / "cache", *chosen)
        print(f"{kept:,} rows {name}: {seconds:.1f} s, peak memory {peak / 1e9:.2f} GB")

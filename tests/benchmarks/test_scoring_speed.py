"""What scoring the published outputs costs, files and all: `make bench`. Nothing is asserted."""

import time
from pathlib import Path

from experiments.analysis import bfcl_scores
from experiments.analysis.bfcl_scores import BfclFiles
from experiments.toolcalls import bfcl


def test_print_the_seconds_of_scoring_3475_items(shared: Path, tmp_path: Path) -> None:
    n = 0
    began = time.perf_counter()
    for category in bfcl.categories():
        name = f"BFCL_v4_{category}"
        answers = shared / "bfcl" / "possible_answer" / f"{name}.json"
        for file in (shared / "bfcl_outputs").glob(f"*/*/{name}_result.json"):
            given = BfclFiles(
                category,
                shared / "bfcl" / f"{name}.json",
                answers if answers.is_file() else None,
                file,
                "fc",
            )
            bfcl_scores.score_bfcl(given, tmp_path / name)
            n += len((tmp_path / name).read_text(encoding="utf-8").splitlines())
    print(f"\n{n:,} items of BFCL read and scored in {time.perf_counter() - began:.2f} s")

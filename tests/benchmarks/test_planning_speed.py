"""How long a plan takes from the command line, printed; nothing is asserted."""

import time

from conftest import Cli


def test_a_plan_of_24_runs(cli: Cli) -> None:
    words = ("hardware=t4", "model=qwen3_0_6b,qwen3_1_7b", "lora=all_linear,qv,mlp")
    began = time.perf_counter()
    done = cli("plan", *words, "lora.r=1,4,16,64", module=True)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    print(f"\na plan of 24 runs: {seconds:.1f} s with the start of Python")

"""Progress in a log: a line after a second, with the rate and the time that is left."""

import re
import time
from collections.abc import Iterator

import pytest

from experiments.runtime.progress import track


def steps(count: int, seconds: float) -> Iterator[int]:
    for i in range(count):
        yield i
        time.sleep(seconds)


def test_long_work_is_announced_after_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(steps(5, 0.3), 50, "answers of the base model, test", "answers")) == [
        *range(5)
    ]
    [line] = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"answers of the base model, test: \d/50 answers, [\d.]+ per second, about \d+ s left", line
    )


def test_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(1000), 1000, "short", "rows")) == [*range(1000)]
    assert capsys.readouterr().out == ""

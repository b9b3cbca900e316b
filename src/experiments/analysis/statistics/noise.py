"""Repeats of one cell in, the noise floor out: what the same run differs by when made again.

Seeds say what another start would change; repeats say what the machine itself changes. A gap that
is smaller than twice the floor is not there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseFloor:
    """Standard deviation of one run around its cell, pooled over the cells."""

    deviation: float
    """In the unit of the score; 0 on a machine that repeats exactly."""
    high: float
    """Upper end of the one-sided 95 % interval of the deviation."""
    cells: int
    runs: int

    def covers(self, gap: float) -> bool:
        """Whether a gap between two runs is within twice the floor."""
        return abs(gap) <= 2 * self.deviation


def noise_floor(cells: Sequence[Sequence[float]]) -> NoiseFloor | None:
    """Return the noise floor of a score.

    The variance is the squares around each cell's mean over the degrees of freedom, sum(n - 1),
    and its upper end is by chi² (`scipy.stats.chi2`), for normal noise.

    >>> round(noise_floor([[1.0, 1.2], [3.0, 3.2]]).deviation, 3)
    0.141

    Args:
        cells: the score of each run of a cell: one config, one seed, run again. Cells with a
            single run say nothing and are left out.

    Returns:
        None where no cell was repeated.
    """
    repeated = [cell for cell in cells if len(cell) > 1]
    freedom = sum(len(cell) - 1 for cell in repeated)
    if not freedom:
        return None
    squares = 0.0
    for cell in repeated:
        mean = math.fsum(cell) / len(cell)
        squares += math.fsum((value - mean) ** 2 for value in cell)
    from scipy.stats import chi2

    high = math.sqrt(squares / float(chi2.ppf(0.05, freedom)))
    runs = sum(len(cell) for cell in repeated)
    return NoiseFloor(math.sqrt(squares / freedom), high, len(repeated), runs)

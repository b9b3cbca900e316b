"""Estimate the noise floor: how much repeated runs of one config and seed differ.

Different seeds show the variation due to initialisation and data order; repeats of one seed show
the variation due to hardware and non-deterministic kernels. A difference smaller than twice the
noise floor does not count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseFloor:
    """Standard deviation of a run around the mean of its cell, pooled over the cells."""

    deviation: float
    """In the unit of the score; 0 if repeats are bit-identical."""
    high: float
    """Upper end of the one-sided 95 % interval of the deviation."""
    cells: int
    runs: int

    def covers(self, gap: float) -> bool:
        """Return whether a difference between two runs is within twice the noise floor."""
        return abs(gap) <= 2 * self.deviation


def noise_floor(cells: Sequence[Sequence[float]]) -> NoiseFloor | None:
    """Return the noise floor of a score.

    The variance is the sum of squares around each cell's mean, divided by the degrees of freedom
    sum(n - 1). Its upper end is from the chi² distribution (`scipy.stats.chi2`), for normal noise.

    >>> round(noise_floor([[1.0, 1.2], [3.0, 3.2]]).deviation, 3)
    0.141

    Args:
        cells: the scores of each cell, which are repeated runs of one config and seed. Cells with a
            single run carry no information and are left out.

    Returns:
        The noise floor, or None if no cell was repeated.
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

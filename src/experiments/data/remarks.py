"""Warn about mixtures that waste or repeat rows, and about splits with too few rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.config import DataConfig
from experiments.data.evaluation_rows import Evaluated

# Below this share, most of a source that the user named is unused.
_LEAST_USED = 0.5
# Rows repeated up to about four times train nearly as well as new ones; beyond that, the benefit
# decreases (Muennighoff et al., Scaling Data-Constrained Language Models, arXiv 2305.16264).
_MOST_EPOCHS = 4.0
# With 20 rows, the 95 % Wilson interval of a share is up to 0.4 wide.
_FEWEST_ROWS = 20
_HELD_BACK = ("validation", "test")


def on_rows(spec: DataConfig, counts: Mapping[str, Any], evaluated: Evaluated) -> list[str]:
    """Return the warnings about the rows of a run."""
    mixed = on_mixture(spec, counts["mixture"]["shares"]) if "mixture" in counts else ()
    return [*mixed, *on_splits(spec, {k: len(v) for k, v in evaluated.digests.items()})]


def on_mixture(spec: DataConfig, shares: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a warning for each source that is mostly unused or repeated often.

    Args:
        spec: config of the mixture.
        shares: `mixture.Share` of each source, in the format of a run record.
    """
    used_up = max(shares, key=lambda name: shares[name]["epochs"])
    for name, share in shares.items():
        drawn, available = share["rows_drawn"], share["rows_available"]
        if share["epochs"] < _LEAST_USED:
            yield (
                f"the mixture trains on {drawn:,} of the {available:,} rows of {name} "
                f"({share['epochs']:.0%}): {_why(spec, shares, name, used_up)}"
            )
        elif share["epochs"] > _MOST_EPOCHS:
            yield (
                f"the mixture repeats the {available:,} rows of {name} {share['epochs']:.1f} times "
                f"(data.total={spec.total}); more than {_MOST_EPOCHS:.0f} repetitions help little: "
                f"lower data.total or data.sources.{name}.weight"
            )


def _why(spec: DataConfig, shares: Mapping[str, Mapping[str, Any]], name: str, used_up: str) -> str:
    if spec.total is not None:
        return f"data.total={spec.total} leaves no room for more; raise it, or the source's weight"
    weight, other = spec.sources[name].weight, spec.sources[used_up].weight
    more = ""
    if spec.weight_by == "rows":
        whole = round(shares[name]["rows_available"] / shares[name]["share_asked"])
        more = f" (data.total={whole} uses each row of {name} once)"
    return (
        f"the {shares[used_up]['rows_available']:,} rows of {used_up} "
        f"(data.sources.{used_up}.weight={other:g}) run out first and no row is repeated; set "
        f"data.total to repeat them{more}, or change data.sources.{name}.weight={weight:g}"
    )


def on_splits(spec: DataConfig, rows: Mapping[str, int]) -> Iterator[str]:
    """Yield a warning for each requested held-back split that has few rows.

    Args:
        spec: config of the data.
        rows: number of rows by split, including rows that do not fit into the model's context.
    """
    for split in _HELD_BACK:
        count = rows.get(split, 0)
        wanted = bool(getattr(spec, f"{split}_share")) or count > 0
        if wanted and count < _FEWEST_ROWS:
            yield (
                f"the {split} split has {count} rows; scores of fewer than {_FEWEST_ROWS} are not "
                f"reliable: raise {_key(spec, split)}"
            )


def _key(spec: DataConfig, split: str) -> str:
    if spec.source == "toolworld":
        return f"data.{split}_rows={getattr(spec, f'{split}_rows')}"
    share = getattr(spec, f"{split}_share")
    named = f"data.{split}_share={'null' if share is None else format(share, 'g')}"
    return named + (" or use more rows" if share else "")

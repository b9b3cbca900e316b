"""Warn about mixtures that waste or repeat rows, and about splits with too few rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.config import DataConfig
from experiments.data.evaluation_rows import Evaluated

# Below this share, most of a source that the user named is unused.
_MIN_SHARE_USED = 0.5
# Rows repeated up to about four times train nearly as well as new ones; beyond that, the benefit
# decreases (Muennighoff et al., Scaling Data-Constrained Language Models, arXiv 2305.16264).
_MAX_EPOCHS = 4.0
# With 20 rows, the 95 % Wilson interval of a share is up to 0.4 wide.
_MIN_ROWS = 20
_HELD_BACK_SPLITS = ("validation", "test")


def on_rows(spec: DataConfig, counts: Mapping[str, Any], evaluated: Evaluated) -> list[str]:
    """Return the warnings about the rows of a run."""
    mixture_warnings = on_mixture(spec, counts["mixture"]["shares"]) if "mixture" in counts else ()
    return [*mixture_warnings, *on_splits(spec, {k: len(v) for k, v in evaluated.digests.items()})]


def on_mixture(spec: DataConfig, shares: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a warning for each source that is mostly unused or repeated often.

    Args:
        spec: config of the mixture.
        shares: `mixture.Share` of each source, in the format of a run record.
    """
    first_exhausted = max(shares, key=lambda name: shares[name]["epochs"])
    for name, share in shares.items():
        rows_drawn, rows_available = share["rows_drawn"], share["rows_available"]
        if share["epochs"] < _MIN_SHARE_USED:
            yield (
                f"the mixture trains on {rows_drawn:,} of the {rows_available:,} rows of {name} "
                f"({share['epochs']:.0%}): {_reason_unused(spec, shares, name, first_exhausted)}"
            )
        elif share["epochs"] > _MAX_EPOCHS:
            yield (
                f"the mixture repeats the {rows_available:,} rows of {name} {share['epochs']:.1f} "
                f"times (data.total={spec.total}); more than {_MAX_EPOCHS:.0f} repetitions help "
                f"little: lower data.total or data.sources.{name}.weight"
            )


def _reason_unused(
    spec: DataConfig, shares: Mapping[str, Mapping[str, Any]], name: str, first_exhausted: str
) -> str:
    if spec.total is not None:
        return f"data.total={spec.total} leaves no room for more; raise it, or the source's weight"
    weight, exhausted_weight = spec.sources[name].weight, spec.sources[first_exhausted].weight
    total_hint = ""
    if spec.weight_by == "rows":
        total = round(shares[name]["rows_available"] / shares[name]["share_asked"])
        total_hint = f" (data.total={total} uses each row of {name} once)"
    return (
        f"the {shares[first_exhausted]['rows_available']:,} rows of {first_exhausted} "
        f"(data.sources.{first_exhausted}.weight={exhausted_weight:g}) run out first and no row is "
        f"repeated; set data.total to repeat them{total_hint}, or change "
        f"data.sources.{name}.weight={weight:g}"
    )


def on_splits(spec: DataConfig, rows: Mapping[str, int]) -> Iterator[str]:
    """Yield a warning for each requested held-back split that has few rows.

    Args:
        spec: config of the data.
        rows: number of rows by split, including rows that do not fit into the model's context.
    """
    for split in _HELD_BACK_SPLITS:
        count = rows.get(split, 0)
        requested = bool(getattr(spec, f"{split}_share")) or count > 0
        if requested and count < _MIN_ROWS:
            yield (
                f"the {split} split has {count} rows; scores of fewer than {_MIN_ROWS} are not "
                f"reliable: raise {_key(spec, split)}"
            )


def _key(spec: DataConfig, split: str) -> str:
    if spec.source == "toolworld":
        return f"data.{split}_rows={getattr(spec, f'{split}_rows')}"
    share = getattr(spec, f"{split}_share")
    setting = f"data.{split}_share={'null' if share is None else format(share, 'g')}"
    return setting + (" or use more rows" if share else "")

"""The frozen design: every claim's rule and every sweep's arms, rates and seeds, in one file.

`python -m experiments claims --freeze` writes it. It keeps the earlier versions of a rule and of a
sweep with the time at which each was frozen, so that a rule that was changed after its first run is
found by comparing times, whoever made the change.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.analysis import statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims.claim import Claim
from experiments.errors import ConfigError
from experiments.records import Record

FILE_NAME = "design.json"
_RULE = (
    *("kind", "score", "expects", "margin", "delta", "unit", "low", "high", "rival", "at_most"),
    *("rule", "hidden", "family", "of", "sweep", "arm", "reference", "control", "along", "values"),
    *("numbers", "measured", "key", "gates", "seeds", "may_differ", "primary", "not_tested"),
    "looks",
)
_FORMER_KINDS = {"rule_regret": "rule_excess_loss"}


@dataclass(frozen=True)
class Version:
    """A rule or a sweep as it was from some time on."""

    frozen_at: str
    """UTC time in ISO format."""
    content: Mapping[str, Any]
    """Of a claim: the fields that decide, without those at their default. Of a sweep: its hash."""


@dataclass(frozen=True)
class FrozenDesign:
    """A design file; versions are in the order of time."""

    claims: Mapping[str, Sequence[Version]] = field(default_factory=dict)
    sweeps: Mapping[str, Sequence[Version]] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)
    """Number of runs by sweep, at least."""
    sha256: str = ""
    """First 12 hex digits of the file's hash; empty without a file."""


def rule_of(claim: Claim) -> dict[str, Any]:
    """Return the fields of a claim that decide, without those at their default."""
    values, defaults = asdict(claim), asdict(Claim())
    return {key: values[key] for key in _RULE if values[key] != defaults[key]}


def shared_file(sweep: str) -> str:
    """Return the name of the file that a sweep shares with those of its folder."""
    return str(PurePosixPath(sweep).with_name("_base"))


def read(folders: Sequence[Path]) -> FrozenDesign:
    """Return the design of the first folder that has one; an empty one if none has.

    Raises:
        ConfigError: the file is damaged.
    """
    file = next((folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file()), None)
    if file is None:
        return FrozenDesign()
    content = file.read_bytes()
    try:
        tree = json.loads(content)
        claims, sweeps = (_versions(tree[name]) for name in ("claims", "sweeps"))
        budget = {str(name): int(runs) for name, runs in tree["budget_runs"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} is damaged ({error}): restore the committed file; freezing again would lose "
            "the times of earlier rules."
        ) from error
    if tree.get("looks", _looks()) != _looks():
        raise ConfigError(
            f"{file} was frozen with looks {tree['looks']}, but verdicts are given at {_looks()}: "
            "restore the committed file."
        )
    return FrozenDesign(claims, sweeps, budget, hashlib.sha256(content).hexdigest()[:12])


def _versions(tree: Mapping[str, Any]) -> dict[str, list[Version]]:
    return {
        str(name): [Version(str(one["frozen_at"]), dict(one["content"])) for one in versions]
        for name, versions in tree.items()
    }


def frozen(
    earlier: FrozenDesign,
    claims: Sequence[Claim],
    sweeps: Mapping[str, str],
    budget: Mapping[str, int],
    now: str,
) -> FrozenDesign:
    """Return a design with the present rules and sweeps, and the earlier versions of each.

    Args:
        earlier: the design so far.
        claims: all claims.
        sweeps: text of each sweep's file, and of the files that they share (`shared_file`).
        budget: number of runs by sweep; sweeps that no claim needs any more have none.
        now: UTC time in ISO format.
    """
    hashes = {
        name: {"sha256": hashlib.sha256(text.encode()).hexdigest()[:12]}
        for name, text in sweeps.items()
    }
    rules = {claim.id: rule_of(claim) for claim in claims}
    of_claims = {k: _extended(earlier.claims.get(k), v, now) for k, v in rules.items()}
    of_sweeps = {k: _extended(earlier.sweeps.get(k), v, now) for k, v in hashes.items()}
    return FrozenDesign(
        {**earlier.claims, **of_claims},
        {**earlier.sweeps, **of_sweeps},
        dict(budget),
    )


def _extended(
    versions: Sequence[Version] | None, content: Mapping[str, Any], now: str
) -> list[Version]:
    known = list(versions or ())
    return known if known and known[-1].content == content else [*known, Version(now, content)]


def as_text(design: FrozenDesign) -> str:
    """Return the content of the file."""
    tree: dict[str, Any] = {
        "alpha": statistics.ALPHA,
        "looks": _looks(),
        "primary_family": [
            name for name, versions in design.claims.items() if versions[-1].content.get("primary")
        ],
        "budget_runs": dict(design.budget),
        "claims": {name: [asdict(one) for one in v] for name, v in design.claims.items()},
        "sweeps": {name: [asdict(one) for one in v] for name, v in design.sweeps.items()},
    }
    return json.dumps(tree, indent=1, ensure_ascii=False) + "\n"


def _looks() -> list[dict[str, Any]]:
    return [asdict(look) for look in statistics.LOOKS]


def changes(design: FrozenDesign, claim: Claim, runs: Sequence[Record]) -> Iterator[str]:
    """Yield what of a claim's rule or sweep was frozen or changed after its first run."""
    versions = design.claims.get(claim.id)
    if not versions or not _same(versions[-1].content, rule_of(claim)):
        yield "rule not frozen (python -m experiments claims --freeze)"
    withdrawn = versions and "not_tested" in versions[-1].content
    if withdrawn and versions and any("sweep" in one.content for one in versions[:-1]):
        yield f"its test was withdrawn on {_time(versions[-1])[:10]}, after its runs"
    first = min((run.started_at for run in runs if run.started_at), default=None)
    if first is None:
        return
    if versions and (late := [one for one in versions if _time(one) > first]):
        before = [one for one in versions if _time(one) <= first]
        what = _changed(before[-1].content, late[-1].content) if before else ["the whole rule"]
        if what:
            yield f"changed after the first run ({first[:10]}): {', '.join(what)}"
    for name in (str(claim.sweep), shared_file(str(claim.sweep))):
        sweep = design.sweeps.get(name) or ()
        if len(sweep) > 1 and _time(sweep[-1]) > first:
            file = "the sweep's file" if name == claim.sweep else f"{name}.yaml of the sweep"
            yield f"{file} was changed after the first run ({first[:10]})"


def late_rule(design: FrozenDesign, claim: Claim, runs: Sequence[Record]) -> Reason | None:
    """Return a reason if something that decides was set after the first run; removing is no such.

    The outcomes may have been known when it was set, so it decides only about new runs.
    """
    versions = design.claims.get(claim.id) or ()
    first = min((run.started_at for run in runs if run.started_at), default=None)
    if first is None or not versions or _time(versions[-1]) <= first:
        return None
    before = [one for one in versions if _time(one) <= first]
    now = rule_of(claim)
    earlier = _normal(before[-1].content) if before else {}
    added = [key for key in _DECIDING if key in now and now[key] != earlier.get(key)]
    if not added:
        return None
    when = f"{', '.join(added)} of the rule was set after the first run ({first[:10]})"
    return Reason("late_rule", f"{when}: it decides about new runs only")


_DECIDING = (
    *("kind", "expects", "margin", "delta", "low", "high", "rival", "at_most", "rule", "of"),
    "looks",
)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    a, b = _normal(before), _normal(after)
    return [
        f"{key} removed" if key not in b else f"{key} added" if key not in a else key
        for key in _RULE
        if a.get(key) != b.get(key)
    ]


def _normal(content: Mapping[str, Any]) -> dict[str, Any]:
    kind = content.get("kind")
    return {**content, "kind": _FORMER_KINDS[kind]} if kind in _FORMER_KINDS else dict(content)


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return bool(json.loads(json.dumps(a)) == json.loads(json.dumps(b)))


def _time(version: Version) -> str:
    return version.frozen_at

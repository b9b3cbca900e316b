"""Read and check the claim files in claims/."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from experiments.analysis.claims import looks
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.gates import GATES
from experiments.analysis.claims.kinds import KINDS, RENAMED_KINDS
from experiments.config import folders
from experiments.config.value_checks import at_least, one_of
from experiments.errors import ConfigError, did_you_mean


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value of a claim."""
    for key in ("number", "sentence", "source"):
        if not getattr(claim, key):
            yield f"{key} is missing"
    if claim.not_tested is not None:
        return
    if claim.kind in RENAMED_KINDS:
        yield f"kind={claim.kind} was renamed to {RENAMED_KINDS[claim.kind]}"
        return
    yield from one_of("kind", claim.kind, tuple(KINDS))
    if claim.kind not in KINDS:
        return
    kind = KINDS[claim.kind]
    if kind.needs_sweep and not claim.sweep:
        yield "sweep is missing: name the file in sweeps/ with the runs, or set not_tested"
    if kind.needs_sweep and not claim.arm:
        yield "arm must select an arm of the sweep by config keys, such as lora.r: 16"
    for place in claim.cited:
        yield from _cited_problems(place)
    for gate in claim.gates:
        yield from one_of("gates", gate, tuple(GATES))
    yield from at_least("seeds", claim.seeds, 2)
    yield from looks.problems(claim)
    yield from kind.problems(claim)


def _cited_problems(place: dict[str, object]) -> Iterator[str]:
    if not place.get("sweep") or not place.keys() <= {"sweep", "arm", "reference"}:
        yield f"cited={place}: give sweep, and arm and reference where they differ"


def load(directories: Sequence[Path], ids: Sequence[str] = ()) -> list[Claim]:
    """Read the claims of some folders, in the order of their numbers.

    Args:
        directories: folders of claim files; of equal names, the file in the first folder is read.
        ids: file names without suffix; empty = all claims.

    Raises:
        ConfigError: a claim does not exist or is invalid; the message lists all mistakes.
    """
    files = folders.files(directories)
    if not files:
        raise ConfigError(f"there is no claim in {' or '.join(map(str, directories))}: add one.")
    for name in ids:
        if name not in files:
            raise ConfigError(f"claim {name}: {did_you_mean(name, files)}.")
    claims = [_read(files[name]) for name in ids or files]
    messages = [f"{c.id}.yaml: {text}" for c in claims for text in problems(c)]
    if messages:
        where = " and ".join(map(str, directories))
        raise ConfigError(f"{where} has invalid claims:\n  " + "\n  ".join(messages))
    return sorted(claims, key=lambda claim: (_order(claim.number), claim.id))


def _read(path: Path) -> Claim:
    content = path.read_bytes()
    try:
        tree = OmegaConf.create(content.decode())
        keys = [str(key) for key in tree] if OmegaConf.is_dict(tree) else []
        allowed = {f.name for f in dataclasses.fields(Claim)} - {"id", "sha256"}
        for key in keys:
            if key not in allowed:
                raise ConfigError(f"{path}: {key}: {did_you_mean(key, sorted(allowed))}.")
        claim = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Claim), tree))
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        full_key = getattr(error, "full_key", None)
        message = " ".join(str(getattr(error, "msg", error)).split())
        raise ConfigError(
            f"{path}: {f'{full_key}: ' if full_key else ''}{message}; see Claim."
        ) from error
    assert isinstance(claim, Claim)
    claim.id, claim.sha256 = path.stem, hashlib.sha256(content).hexdigest()[:12]
    return claim


def _order(number: str) -> tuple[int, str]:
    digits = "".join(c for c in number if c.isdigit())
    return int(digits or 0), number

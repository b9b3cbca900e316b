"""The groups `rank` and `lr`: files that set `lora.r` and `trainer.learning_rate`.

Their values are stored under `rank` and `lr` and moved to the plain keys by `moved`, so that a run
has the same id whichever way they were given, and a contradiction can be refused.
"""

import re
from collections.abc import Iterable, Sequence

from omegaconf import DictConfig, OmegaConf

from experiments.config.schema import RunConfig
from experiments.errors import ConfigError

KEYS = {"rank": "lora.r", "lr": "trainer.learning_rate"}
"""Maps each group to the key that its files set."""

_GROUP = re.compile(rf"\+*({'|'.join(KEYS)})=(.*)", re.DOTALL)
_VALUE = re.compile(r"[^,()\[\]{}\s]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def moved(cfg: DictConfig) -> DictConfig:
    """Return a copy of a config in which the values of the groups are in the plain keys.

    Raises:
        ConfigError: a group and its plain key set different values.
    """
    cfg = cfg.copy()
    for group, key in KEYS.items():
        chosen, given = OmegaConf.select(cfg, group), OmegaConf.select(cfg, key)
        if chosen is None:
            continue
        if given is not None and given != chosen:
            raise ConfigError(
                f"the group {group} sets {key}={chosen}, and {key}={given} is set as well: leave "
                "one of them out."
            )
        OmegaConf.update(cfg, key, chosen)
        OmegaConf.update(cfg, group, None)
    return cfg


def quoted(words: Sequence[str]) -> list[str]:
    """Return overrides in which the choices of `rank` and `lr` are texts.

    Hydra refuses a number as the choice of a group. All spellings of a rate become the one of its
    file.

    >>> quoted(["lr=0.0002,5E-05", "rank=r16", "seed=1"])
    ["lr='2e-4','5e-5'", 'rank=r16', 'seed=1']

    Raises:
        ConfigError: a choice is an interval or a range.
    """
    return [_quoted(word) for word in words]


def unquoted(word: str) -> str:
    """Return an override as the user writes it.

    >>> unquoted("lr='2e-4','5e-5'"), unquoted("name='a'")
    ('lr=2e-4,5e-5', "name='a'")
    """
    return word.replace("'", "") if _GROUP.fullmatch(word) else word


def plain(words: Iterable[str], run: RunConfig) -> list[str]:
    """Return a loaded run's overrides with the plain keys, as tables name them."""
    values = {"rank": run.lora.r, "lr": run.trainer.learning_rate}
    found = []
    for word in words:
        match = _GROUP.fullmatch(word)
        found.append(f"{KEYS[match[1]]}={values[match[1]]}" if match else word)
    return found


def any_value(group: str, choice: str) -> str:
    """Return the end of the error about a missing file: the key that takes any value.

    >>> any_value("rank", "r7"), any_value("lora", "qw")
    ('; lora.r=7 sets any value', '')
    """
    if group not in KEYS:
        return ""
    number = choice.removeprefix("r")
    return f"; {KEYS[group]}={number if _NUMBER.fullmatch(number) else 'VALUE'} sets any value"


def _quoted(word: str) -> str:
    match = _GROUP.fullmatch(word)
    if match is None:
        return word
    group, value = match.groups()
    if re.search(r"\b(interval|range)\(", value):
        raise ConfigError(
            f"{word}: {group} chooses files of conf/{group}; list some of them, or search "
            f"{KEYS[group]}."
        )
    return f"{group}={_VALUE.sub(lambda found: _choice(group, found[0]), value)}"


def _choice(group: str, text: str) -> str:
    bare = text.strip("'\"")
    if not _NUMBER.fullmatch(bare):
        return text
    return f"'{_spelling(float(bare)) if group == 'lr' else bare}'"


def _spelling(rate: float) -> str:
    """Return a rate as in the names of the files of conf/lr.

    >>> _spelling(0.0002), _spelling(3.3e-4), _spelling(1)
    ('2e-4', '3.3e-4', '1e0')
    """
    digits, _, exponent = f"{rate:.12e}".partition("e")
    return f"{float(digits):.12g}e{int(exponent)}"

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
        group_value, key_value = OmegaConf.select(cfg, group), OmegaConf.select(cfg, key)
        if group_value is None:
            continue
        if key_value is not None and key_value != group_value:
            raise ConfigError(
                f"the group {group} sets {key}={group_value}, and {key}={key_value} is set as "
                "well: leave one of them out."
            )
        OmegaConf.update(cfg, key, group_value)
        OmegaConf.update(cfg, group, None)
    return cfg


def quoted(overrides: Sequence[str]) -> list[str]:
    """Return overrides in which the choices of `rank` and `lr` are texts.

    Hydra refuses a number as the choice of a group. All spellings of a rate become the one of its
    file.

    >>> quoted(["lr=0.0002,5E-05", "rank=r16", "seed=1"])
    ["lr='2e-4','5e-5'", 'rank=r16', 'seed=1']

    Raises:
        ConfigError: a choice is an interval or a range.
    """
    return [_quoted(override) for override in overrides]


def unquoted(override: str) -> str:
    """Return an override as the user writes it.

    >>> unquoted("lr='2e-4','5e-5'"), unquoted("name='a'")
    ('lr=2e-4,5e-5', "name='a'")
    """
    return override.replace("'", "") if _GROUP.fullmatch(override) else override


def plain(overrides: Iterable[str], run: RunConfig) -> list[str]:
    """Return a loaded run's overrides with the plain keys, as tables name them."""
    values = {"rank": run.lora.r, "lr": run.trainer.learning_rate}
    plain_overrides = []
    for override in overrides:
        match = _GROUP.fullmatch(override)
        plain_overrides.append(f"{KEYS[match[1]]}={values[match[1]]}" if match else override)
    return plain_overrides


def any_value(group: str, choice: str) -> str:
    """Return the end of the error about a missing file: the key that takes any value.

    >>> any_value("rank", "r7"), any_value("lora", "qw")
    ('; lora.r=7 sets any value', '')
    """
    if group not in KEYS:
        return ""
    number = choice.removeprefix("r")
    return f"; {KEYS[group]}={number if _NUMBER.fullmatch(number) else 'VALUE'} sets any value"


def _quoted(override: str) -> str:
    match = _GROUP.fullmatch(override)
    if match is None:
        return override
    group, value = match.groups()
    if re.search(r"\b(interval|range)\(", value):
        raise ConfigError(
            f"{override}: {group} chooses files of conf/{group}; list some of them, or search "
            f"{KEYS[group]}."
        )
    return f"{group}={_VALUE.sub(lambda token: _choice(group, token[0]), value)}"


def _choice(group: str, text: str) -> str:
    number = text.strip("'\"")
    if not _NUMBER.fullmatch(number):
        return text
    return f"'{_spelling(float(number)) if group == 'lr' else number}'"


def _spelling(learning_rate: float) -> str:
    """Return a rate as in the names of the files of conf/lr.

    >>> _spelling(0.0002), _spelling(3.3e-4), _spelling(1)
    ('2e-4', '3.3e-4', '1e0')
    """
    digits, _, exponent = f"{learning_rate:.12e}".partition("e")
    return f"{float(digits):.12g}e{int(exponent)}"

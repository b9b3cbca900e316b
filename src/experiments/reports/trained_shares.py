"""State how many parameters a run trains, as shares of all weights and of the linear layers."""

import json
from dataclasses import dataclass

from experiments import config
from experiments.errors import ExperimentError
from experiments.planning import model_geometry, parameters
from experiments.records import Record


@dataclass(frozen=True)
class TrainedShares:
    """The trained parameters of a run; None where its record does not tell."""

    parameters: int | None
    of_all: float | None
    """As a share of the base's parameters."""
    of_linear: float | None
    """Those in linear layers, without the head, as a share of the layers' own parameters."""

    @property
    def text(self) -> str:
        """The number and both shares, such as `23,808 (2.27 %, 2.47 %)`."""
        if self.parameters is None:
            return "-"
        shares = ("?" if s is None else f"{s:.3g} %" for s in map(_percent, self._shares()))
        return f"{self.parameters:,} ({', '.join(shares)})"

    def _shares(self) -> tuple[float | None, float | None]:
        return self.of_all, self.of_linear


def of(record: Record) -> TrainedShares:
    """Return the trained parameters of a run; older records give the shares through their config.

    >>> TrainedShares(23_808, 0.02267, 0.0247).text
    '23,808 (2.27 %, 2.47 %)'
    """
    trained = record.adapter.get("trainable_parameters")
    total = record.model.get("parameters")
    of_all = record.adapter.get("trainable_share")
    if of_all is None and trained is not None and total:
        of_all = trained / total
    of_linear = record.adapter.get("linear_share")
    if of_linear is None and trained is not None:
        of_linear = _from_config(record)
    return TrainedShares(trained, of_all, of_linear)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _from_config(record: Record) -> float | None:
    """Return the share of the linear layers; None if the model's shape is not known here."""
    from omegaconf import OmegaConf

    try:
        run = config.load(OmegaConf.create(json.loads(json.dumps(record.config))))
        return parameters.linear_share(model_geometry.of(run.model), run.lora)
    except ExperimentError:
        return None

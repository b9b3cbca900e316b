"""Build a run's data: read, render, mask, mix and fingerprint its rows for training."""

from experiments.data.building import build
from experiments.data.rendering import Encoded, Renderer
from experiments.data.train_data import TrainData

__all__ = ["Encoded", "Renderer", "TrainData", "build"]

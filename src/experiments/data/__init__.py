"""Build a run's data: read, render, mask, mix and fingerprint its rows for training."""

from experiments.data.building import TrainData, build
from experiments.data.rendering import Encoded, Renderer

__all__ = ["Encoded", "Renderer", "TrainData", "build"]

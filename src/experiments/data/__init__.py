"""Data description -> rendered, masked, mixed and fingerprinted rows, ready to train on."""

from experiments.data.building import TrainData, build
from experiments.data.rendering import Encoded, Renderer

__all__ = ["Encoded", "Renderer", "TrainData", "build"]

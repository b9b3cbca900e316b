"""Track the bytes of all live tensors, to check memory predictions.

Every operation that PyTorch dispatches is intercepted with its results. A storage counts from the
moment it is first seen until it is freed. The tracker knows nothing about models, so that it is
independent of the prediction. It does not see buffers inside a kernel or memory that the allocator
keeps for reuse.
"""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from experiments.planning.torch_private import TorchDispatchMode, storage_id, tree_leaves


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of live tensor storages while the context is active."""

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        """Start the count with tensors that already exist."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen: dict[int, tuple[weakref.ref[Any], int]] = {}
        self.live_bytes = 0
        self.peak_bytes = 0
        self.peak_operation = ""
        for tensor in known:
            self._count(tensor, "at the start")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count its results."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf, str(func))
        return result

    def _count(self, tensor: torch.Tensor, operation: str) -> None:
        if tensor.device.type == "meta":
            return
        storage = tensor.untyped_storage()
        key = storage_id(storage)
        if key in self._seen and self._seen[key][0]() is not None:
            return
        size = storage.nbytes()
        self._seen[key] = (weakref.ref(storage, lambda _: self._forget(key)), size)
        self.live_bytes += size
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes, self.peak_operation = self.live_bytes, operation

    def _forget(self, key: int) -> None:
        _, size = self._seen.pop(key, (None, 0))
        self.live_bytes -= size

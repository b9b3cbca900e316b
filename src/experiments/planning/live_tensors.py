"""Operations in, the bytes of all tensors that are alive out: the measure of a memory prediction.

Every operation that PyTorch dispatches is seen with its results; a storage counts from the moment
it is first seen until it is freed. Nothing here knows what a model is, so that a prediction can be
held against it. Not seen are buffers inside a kernel and what the allocator keeps for later.
"""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of living tensor storages while it is entered."""

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        """Start the count with tensors that exist already."""
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
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf, str(func))
        return found

    def _count(self, tensor: torch.Tensor, operation: str) -> None:
        if tensor.device.type == "meta":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
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

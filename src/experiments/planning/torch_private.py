"""The private modules and names of torch that this project uses; no other module uses one.

`tests/contracts/test_private_apis.py` has a test for each name, which fails when the name is gone.
"""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["TorchDispatchMode", "storage_id", "tree_leaves"]


def storage_id(storage: Any) -> int:
    """Return a number that two Python objects share if they stand for the same live storage."""
    return int(storage._cdata)

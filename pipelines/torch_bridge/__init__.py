"""Iterators in torch: tensors on a device, torch's loaders, torchdata's nodes.

    iterator ─▶ DevicePrefetcher ─▶ tensors on the GPU, one batch ahead
    iterator ─▶ TorchDataset ─▶ DataLoader / StatefulDataLoader     worker w of k makes batches w, w + k, w + 2k …
    iterator ─▶ torchdata_node ─▶ torchdata.nodes

Whatever carries the batches, `batch.state` is the state after that batch, and any of them can continue from it.
"""

from ..tensors import batch_to_device, torch_resize
from .dataset import TorchDataset
from .loader import TorchLoader
from .node import torchdata_node
from .prefetcher import DevicePrefetcher

__all__ = ["DevicePrefetcher", "TorchDataset", "TorchLoader", "batch_to_device", "torch_resize", "torchdata_node"]

"""Iterators in torch: tensors on a device, torch's loaders, torchdata's nodes."""

from .dataset import (
    DevicePrefetcher,
    TorchDataset,
    TorchLoader,
    batch_to_device,
    torch_resize,
    torchdata_node,
)

__all__ = ["DevicePrefetcher", "TorchDataset", "TorchLoader", "batch_to_device", "torch_resize", "torchdata_node"]

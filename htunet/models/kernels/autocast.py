"""What autocast makes of products, for functions that multiply on their own."""

import torch
from torch import Tensor


def product_type(tensor: Tensor) -> torch.dtype:
    """The type in which a tensor is multiplied: what autocast asks for, else its own."""
    device = tensor.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return tensor.dtype

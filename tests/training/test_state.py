"""What a checkpoint of a run gives back, beyond the bits that whole runs compare."""

import pytest
import torch

from htunet.training.state import _on_device


@pytest.mark.parametrize("key", ["step", "exp_avg", "exp_avg_sq"])
def test_all_that_the_optimiser_keeps_lies_beside_its_parameter(key: str) -> None:
    # The fused AdamW refuses a step counter on another device. A device without memory shows it without a GPU.
    parameter = torch.empty(2, 3, 4, 4, device="meta").to(memory_format=torch.channels_last)
    value = torch.tensor(7.0) if key == "step" else torch.zeros(2, 3, 4, 4)

    held = _on_device(key, value, parameter)

    assert held.device == parameter.device
    assert held.shape == value.shape
    assert key == "step" or held.is_contiguous(memory_format=torch.channels_last)

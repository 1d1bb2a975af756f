"""What a user of MONAI writes, for a comparison: see ``benchmarks.side``. Runs in an environment with MONAI.

The loop of MONAI's own examples: dictionary transforms, cached as far as they are not random, Dice and cross-entropy,
AdamW, fp32. The random transforms have the probabilities and ranges of htunet's plan ``paper``.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet, UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandRotated,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    RandZoomd,
    Resize,
    Resized,
    ScaleIntensityRange,
    ScaleIntensityRanged,
)
from PIL import Image

from benchmarks.side import network_text, serve

WIDTHS = (16, 32, 64, 128, 256)
BOTH = ("image", "label")


def build(name: str) -> torch.nn.Module:
    """UNet as in MONAI's tutorials, or BasicUNet with htunet's widths."""
    if name == "BasicUNet":
        return BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(*WIDTHS, WIDTHS[0]))
    return UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=WIDTHS, strides=(2, 2, 2, 2), num_res_units=2,
                norm="batch")  # fmt: skip


def random_transforms() -> list[Any]:
    """Of a training image and its mask."""
    often = {"prob": 0.3}
    return [
        RandRotated(BOTH, range_x=math.radians(15), mode=("bilinear", "nearest"), padding_mode="zeros", **often),
        RandZoomd(BOTH, min_zoom=0.85, max_zoom=1.2, mode=("bilinear", "nearest"), **often),
        RandFlipd(BOTH, prob=0.5, spatial_axis=0),
        RandShiftIntensityd("image", offsets=0.2, **often),
        RandScaleIntensityFixedMeand("image", factors=0.25, **often),
        RandAdjustContrastd("image", gamma=(0.7, 1.5), retain_stats=True, **often),
        RandGaussianNoised("image", std=0.05, **often),
        RandGaussianSmoothd("image", sigma_x=(0.3, 1.0), sigma_y=(0.3, 1.0), **often),
    ]


def main(spec: dict[str, Any]) -> None:
    """Train on images and masks; predict files."""
    torch.manual_seed(1)
    monai.utils.set_determinism(1)
    side, network = spec["side"], build(spec["network"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    loaded = [
        LoadImaged(BOTH),
        EnsureChannelFirstd(BOTH),
        Resized(BOTH, (side, side), mode=("bilinear", "nearest")),
        ScaleIntensityRanged("image", 0, 255, 0, 1),
    ]
    files = [{"image": image, "label": label} for image, label in spec["pairs"]]
    data = CacheDataset(files, Compose([*loaded, *random_transforms()]), num_workers=0, progress=False)
    batches = DataLoader(data, batch_size=spec["batch"], shuffle=True, num_workers=0, drop_last=True)
    stream = (batch for _ in range(10**6) for batch in batches)

    def step() -> None:
        network.train()
        batch = next(stream)
        optimizer.zero_grad(set_to_none=True)
        loss(network(batch["image"]), batch["label"]).backward()
        optimizer.step()

    read = Compose([LoadImage(), EnsureChannelFirst()])
    to_input = Compose([Resize((side, side)), ScaleIntensityRange(0, 255, 0, 1)])

    @torch.inference_mode()
    def predict() -> None:
        network.eval()
        for path in spec["files"]:
            image = read(path)
            labels = network(to_input(image)[None]).argmax(dim=1)
            full = Resize(image.shape[1:], mode="nearest")(labels)[0]
            pixels = np.asarray(full).T.astype(np.uint8)  # its reader has the width first
            Image.fromarray(pixels).save(Path(spec["output"], Path(path).name))

    about = {"version": monai.__version__, "network": network_text(network, torch.zeros(1, 1, side, side))}
    serve(about, {"step": step, "predict": predict})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

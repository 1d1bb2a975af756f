"""Standalone networks, the paper's baselines, by name. To add one: write a module here and add a line below."""

from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from htunet.models.standalone.base import Standalone

STANDALONE: "Registry[Standalone]" = Registry(
    "network",
    {
        "CLIPSeg": "htunet.models.standalone.clipseg:CLIPSEG",
        "DINOv2": "htunet.models.standalone.dinov2:DINOV2",
        "ResNet18": "htunet.models.standalone.resnet:RESNET18",
        "UNet": "htunet.models.standalone.unet:UNET",
    },
    group="htunet.standalone_networks",
)

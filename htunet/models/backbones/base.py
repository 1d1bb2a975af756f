"""The interface of a frozen image encoder.

Dimension key: B batch, C channels, H W pixels, T tokens = 1 + grid height * grid width, D width, E embedding.
"""

from torch import Tensor, nn

from htunet.models.catalogue import InputStatistics


class Backbone(nn.Module):
    """Any encoder that is a patch embedding followed by a list of blocks. All its weights are frozen by the encoder."""

    width: int
    patch_size: int
    statistics: InputStatistics
    features: int = 512
    """Width of the features that a network sums the levels in."""
    blocks: nn.ModuleList | nn.Sequential

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """Normalised images -> class token first and patch tokens, with positions added, (B, T, D)."""
        raise NotImplementedError

    def project(self, tokens_BTD: Tensor) -> Tensor:
        """Tokens after the last block -> (B, E), the image's embedding beside texts, not of unit length.

        Raises NotImplementedError for a backbone that was trained without texts.
        """
        raise NotImplementedError(f"{type(self).__name__} has no embedding that texts could be compared with.")

    def own_key(self, published: str) -> str:
        """The name in this module's state dict of an image tower's tensor, from its name in the published file."""
        return published

    def grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Patches in each direction; raises ValueError when the image does not divide into whole patches."""
        height, width = image_hw
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f"Image sides must be multiples of the patch size {self.patch_size}, got {image_hw}.")
        return height // self.patch_size, width // self.patch_size


__all__ = ["Backbone", "InputStatistics"]

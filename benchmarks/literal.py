"""CLIP_HT exactly as the equations are written, for speed and as an oracle. Nothing here is optimised.

``LiteralNetwork`` is its segmentation, or without adapters that of a frozen CLIP; ``LiteralStage1`` its training on
images with captions.

Fourier transforms for the filter, three depthwise convolutions, all 12 blocks, QuickGELU as x * sigmoid(1.702 x),
features up-sampled to the input size before the 1x1 convolution. Sources: arXiv 2506.08849, equations 1
to 5 and section III-B.
It shares no code with htunet.models; ``from_network`` copies the weights of a network so that outputs can be compared.
"""

import torch
from open_clip import create_model
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.dual_encoder import DualEncoder
from htunet.models.encoder import AdaptedEncoder
from htunet.models.network import EncoderNetwork


class LiteralHT(nn.Module):
    """Equations 1 to 5, one line each."""

    def __init__(self, width: int = 768, d: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))
        self.gamma_x = nn.Parameter(torch.ones(width))
        self.down = nn.Linear(width, d)
        self.theta = nn.Parameter(torch.ones(d))
        self.estimator = nn.Sequential(nn.Linear(d, d // 4), nn.ReLU(), nn.Linear(d // 4, 3))
        self.bank = nn.ModuleList(nn.Conv2d(d, d, k, padding=k // 2, groups=d) for k in (3, 5, 7))
        self.mix = nn.Conv2d(d, d, 1)
        self.dropout = nn.Dropout(0.1)
        self.up = nn.Linear(d, width)

    def forward(self, z: Tensor, height: int, width: int) -> Tensor:
        """(B, 1 + H*W, D) -> the same shape."""
        z_in = self.down(self.norm(z) * self.gamma + z * self.gamma_x)
        f_in = z_in[:, 1:].transpose(1, 2).reshape(len(z), -1, height, width)
        f_freq = torch.fft.ifft2(torch.fft.fft2(f_in) * self.theta[None, :, None, None]).real
        alpha = torch.softmax(self.estimator(f_freq.mean(dim=(2, 3))), dim=1)
        f_multi = sum(alpha[:, i, None, None, None] * conv(f_freq) for i, conv in enumerate(self.bank)) + f_in
        f_multi = f_multi + self.mix(f_multi)
        z_out = torch.cat([z_in[:, :1], f_multi.flatten(2).transpose(1, 2)], dim=1)
        return z + self.up(self.dropout(F.gelu(z_out)))


ARCHITECTURE = "ViT-B-16-quickgelu"


class LiteralTower(nn.Module):
    """A whole CLIP, frozen, with an adapter after each of its 12 blocks or without any."""

    def __init__(self, adapted: bool = True) -> None:
        super().__init__()
        self.clip = create_model(ARCHITECTURE, pretrained=None).requires_grad_(False).eval()
        self.width = self.clip.visual.conv1.out_channels
        self.adapters = nn.ModuleList(LiteralHT(self.width) for _ in range(12 if adapted else 0))

    def levels(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised, of the size that the tower was trained at -> the tokens after each block."""
        visual = self.clip.visual
        found = [visual._embeds(images)]
        for index, block in enumerate(visual.transformer.resblocks):
            z = block(found[-1])
            found.append(self.adapters[index](z, *visual.grid_size) if self.adapters else z)
        return found[1:]

    def train(self, mode: bool = True) -> "LiteralTower":
        """Frozen means frozen."""
        super().train(mode)
        self.clip.eval()
        return self

    def take(self, encoder: AdaptedEncoder) -> None:
        """The weights of an encoder."""
        self.clip.visual.load_state_dict(encoder.backbone.vit.state_dict())
        for mine, theirs in zip(self.adapters, encoder.adapters or [], strict=True):
            mine.load_state_dict(_literal_names(theirs.state_dict()))


class LiteralNetwork(LiteralTower):
    """The tower with the segmentation head."""

    def __init__(self, num_labels: int = 2, adapted: bool = True) -> None:
        super().__init__(adapted)
        self.reduce = nn.ModuleList(nn.Linear(self.width, 512) for _ in range(3))
        self.refine = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(512), nn.Linear(512, 512), nn.GELU(), nn.Linear(512, 512)) for _ in range(3)
        )
        self.classify = nn.Conv2d(512, num_labels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, K, H, W) scores."""
        levels = self.levels(images)
        features = [levels[index][:, 1:] for index in (3, 6, 9)]
        total = sum(refine(reduce(f)) for f, reduce, refine in zip(features, self.reduce, self.refine, strict=True))
        grid = total.transpose(1, 2).reshape(len(images), 512, *self.clip.visual.grid_size)
        return self.classify(F.interpolate(grid, size=images.shape[-2:], mode="bilinear", align_corners=False))

    @classmethod
    def from_network(cls, network: EncoderNetwork) -> "LiteralNetwork":
        """A literal twin with the same weights."""
        twin = cls(network.head.classify.out_channels, adapted=network.encoder.adapters is not None)
        twin.take(network.encoder)
        for mine, theirs in zip(twin.reduce, network.aggregation.reduce, strict=True):
            mine.load_state_dict(theirs.state_dict())
        for mine, theirs in zip(twin.refine, network.aggregation.refine, strict=True):
            mine.load_state_dict(theirs.state_dict())
        twin.classify.load_state_dict(network.head.classify.state_dict())
        return twin


class LiteralStage1(LiteralTower):
    """The symmetric contrast of images and captions, whose text tower is asked in each step."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> the cosine similarities with B made-up captions of 77 tokens, (B, B)."""
        visual, numbers = self.clip.visual, torch.Generator().manual_seed(0)
        words = torch.randint(1, self.clip.vocab_size, (len(images), self.clip.context_length), generator=numbers)
        embedded = F.normalize(visual.ln_post(self.levels(images)[-1][:, 0]) @ visual.proj, dim=1)
        return embedded @ self.clip.encode_text(words.to(images.device), normalize=True).T

    @classmethod
    def from_network(cls, network: DualEncoder) -> "LiteralStage1":
        """A literal twin whose image tower has the same weights."""
        twin = cls()
        twin.take(network.encoder)
        return twin

    @staticmethod
    def loss(similar: Tensor) -> Tensor:
        """InfoNCE over images and over captions at the temperature 0.07."""
        right = torch.arange(len(similar), device=similar.device)
        return (F.cross_entropy(similar / 0.07, right) + F.cross_entropy(similar.T / 0.07, right)) / 2


def _literal_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {
        "filter.theta": "theta",
        "estimator.hidden": "estimator.0",
        "estimator.scores": "estimator.2",
        "bank.scales": "bank",
    }
    renamed = {}
    for key, value in state.items():
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = value
    return renamed

"""The networks that can be pre-trained on simulated images: their losses, their metrics, and their weights files.

Dimension key: B images, M features, H W pixels or patches, T tokens, D width, E embedding, L words.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.backbones.phantom import PhantomVision
from htunet.models.build import DECODER, OUT_INDICES
from htunet.models.catalogue import LOGIT_SCALE
from htunet.models.heads.aggregation import FeatureAggregation
from htunet.models.heads.segmentation import SegmentationHead
from htunet.models.network import Normalisation
from htunet.models.standalone.resnet import ResNet18
from htunet.models.standalone.unet import MODEL, UNet
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION
from htunet.models.text.phantom import PhantomText
from htunet.pretraining.stream import CLASSES, DEPTH, ORGANS, REVERBERATION, SHADOW, TISSUE
from htunet.pretraining.variation import Lesson, pooled
from htunet.simulation.scene import TISSUES
from htunet.simulation.simulate import SIGNS
from htunet.training.losses.segmentation import dice_cross_entropy

DEEPEST_MM = 100.0
"""Depths are learnt as fractions of this."""
HEADS = "heads."


class Learner(nn.Module):
    """A network with its losses and metrics on simulated images."""

    name: ClassVar[str]
    task: ClassVar[str]
    """The task that it can do right after the pre-training."""
    learning_rate: ClassVar[float]
    """The largest one, for batches of 32 images; it grows with the square root of the batch size."""
    weight_decay: ClassVar[float]

    def losses(self, lesson: Lesson) -> dict[str, Tensor]:
        """The terms of the loss, scalars by name; their sum is minimised."""
        raise NotImplementedError

    def figures(self, lesson: Lesson) -> dict[str, Tensor]:
        """Metrics of each image, (B,), NaN where it has none; their means are reported."""
        raise NotImplementedError

    def published(self) -> dict[str, Tensor]:
        """The tensors of the weights file by their names in it."""
        raise NotImplementedError


class UNetLearner(Learner):
    """Finds lesions."""

    name = "UNet"
    task = SEGMENTATION
    learning_rate = 1e-3
    weight_decay = 1e-2

    def __init__(self) -> None:
        super().__init__()
        self.network = UNet(2)

    def losses(self, lesson: Lesson) -> dict[str, Tensor]:
        """Dice plus cross-entropy of the lesion."""
        return {"lesion": dice_cross_entropy(self.network(lesson.images), lesson.lesions).mean()}

    def figures(self, lesson: Lesson) -> dict[str, Tensor]:
        """See ``lesion_figures``."""
        return lesion_figures(self.network(lesson.images), lesson)

    def published(self) -> dict[str, Tensor]:
        """As a checkpoint has them."""
        return {MODEL + name: value for name, value in self.network.state_dict().items()}


class ResNetLearner(Learner):
    """Tells benign, malignant and no lesion apart, and organs."""

    name = "ResNet18"
    task = CLASSIFICATION
    learning_rate = 1e-3
    weight_decay = 1e-2

    def __init__(self) -> None:
        super().__init__()
        self.network = ResNet18(len(CLASSES) + len(ORGANS))

    def losses(self, lesson: Lesson) -> dict[str, Tensor]:
        """Cross-entropy of the class and of the organ."""
        classes_BN, organs_BN = self.network(lesson.images).split([len(CLASSES), len(ORGANS)], dim=1)
        return {
            "class": known_cross_entropy(classes_BN, lesson.classes),
            "organ": known_cross_entropy(organs_BN, lesson.organs),
        }

    def figures(self, lesson: Lesson) -> dict[str, Tensor]:
        """Whether the class is right."""
        return class_figures(self.network(lesson.images)[:, : len(CLASSES)], lesson)

    def published(self) -> dict[str, Tensor]:
        """Under torchvision's names."""
        last = {f"fc.{name}": value for name, value in self.network.classify.state_dict().items()}
        return dict(self.network.body.state_dict()) | last


class PhantomLearner(Learner):
    """An image tower and a text tower, with a decoder: lesions, tissue, shadows, depth, classes, signs and captions."""

    name = "PhantomCLIP"
    task = SEGMENTATION
    learning_rate = 5e-4
    weight_decay = 5e-2

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.text = PhantomVision(), PhantomText()
        self.normalise = Normalisation(self.backbone.statistics)
        width, features = self.backbone.width, self.backbone.features
        self.aggregation = FeatureAggregation(len(OUT_INDICES), width, features)
        self.head = SegmentationHead(features, 2)
        self.dense = nn.Conv2d(features, len(TISSUES) + 3, 1)
        self.kinds = nn.ModuleDict(
            {
                "class": nn.Linear(2 * width, len(CLASSES)),
                "organ": nn.Linear(2 * width, len(ORGANS)),
                "signs": nn.Linear(2 * width, sum(map(len, SIGNS.values()))),
            }
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def seen(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, M, H, W) features, (B, 2 D) of the whole image, (B, E) embeddings of unit length."""
        tokens_BTD = self.backbone.embed(self.normalise(images))
        levels = []
        for depth, block in enumerate(self.backbone.blocks):
            tokens_BTD = block(tokens_BTD)
            if depth in OUT_INDICES:
                levels.append(tokens_BTD)
        features_BMHW = self.aggregation(levels, self.backbone.grid_hw((images.shape[-2], images.shape[-1])))
        whole_BD = torch.cat([self.backbone.vit.ln_post(tokens_BTD[:, 0]), tokens_BTD[:, 1:].mean(dim=1)], dim=1)
        return features_BMHW, whole_BD.float(), F.normalize(self.backbone.project(tokens_BTD).float(), dim=1)

    def losses(self, lesson: Lesson) -> dict[str, Tensor]:
        """The losses of lesion, tissue, class, organ, signs and captions, scalars by name."""
        features_BMHW, whole_BD, images_BE = self.seen(lesson.images)
        scores = self.head(features_BMHW, (lesson.images.shape[-2], lesson.images.shape[-1]))
        found = {"lesion": dice_cross_entropy(scores, lesson.lesions).mean()}
        found |= self._dense_losses(features_BMHW, lesson.dense)
        found["class"] = 0.5 * known_cross_entropy(self.kinds["class"](whole_BD), lesson.classes)
        found["organ"] = 0.2 * known_cross_entropy(self.kinds["organ"](whole_BD), lesson.organs)
        signs = self.kinds["signs"](whole_BD).split([len(values) for values in SIGNS.values()], dim=1)
        of_signs = [known_cross_entropy(scores_BN, true) for scores_BN, true in zip(signs, lesson.signs.T, strict=True)]
        found["signs"] = 0.5 * torch.stack(of_signs).mean()
        texts_BE = F.normalize(self.text(lesson.words).float(), dim=1)
        similar_BB = self.logit_scale.clamp(max=math.log(100)).exp() * images_BE @ texts_BE.T
        found["captions"] = 0.3 * contrast(similar_BB, (lesson.words[:, None] == lesson.words[None]).all(dim=2))
        return found

    def _dense_losses(self, features_BMHW: Tensor, planes: Tensor) -> dict[str, Tensor]:
        scores = self.dense(features_BMHW).float()
        patch, kinds = self.backbone.patch_size, len(TISSUES)
        tissue = torch.stack([pooled(planes[:, TISSUE] == kind, patch) for kind in range(kinds)], dim=1)
        darkness = torch.stack([pooled(planes[:, plane], patch) for plane in (SHADOW, REVERBERATION)], dim=1)
        depth = pooled(planes[:, DEPTH], patch) / DEEPEST_MM
        tissue_loss = -(tissue * scores[:, :kinds].log_softmax(dim=1)).sum(dim=1).mean()
        return {
            "tissue": 0.3 * tissue_loss,
            "shadow": 0.3 * F.binary_cross_entropy_with_logits(scores[:, kinds : kinds + 2], darkness),
            "depth": 0.3 * F.smooth_l1_loss(scores[:, kinds + 2], depth, beta=0.1),
        }

    def figures(self, lesson: Lesson) -> dict[str, Tensor]:
        """Those of lesions and classes."""
        features_BMHW, whole_BD, _ = self.seen(lesson.images)
        scores = self.head(features_BMHW, (lesson.images.shape[-2], lesson.images.shape[-1]))
        return lesion_figures(scores, lesson) | class_figures(self.kinds["class"](whole_BD), lesson)

    def published(self) -> dict[str, Tensor]:
        """The tensors of both towers, of the decoder and of the other heads."""
        parts: Mapping[str, nn.Module] = {
            "visual.": self.backbone.vit,
            "text.": self.text,
            f"{DECODER}aggregation.": self.aggregation,
            f"{DECODER}head.": self.head,
            f"{HEADS}dense.": self.dense,
            HEADS: self.kinds,
        }
        found = {
            f"{prefix}{name}": value for prefix, module in parts.items() for name, value in module.state_dict().items()
        }
        return found | {LOGIT_SCALE: self.logit_scale.detach().clamp(max=math.log(100))}


LEARNERS: dict[str, type[Learner]] = {one.name: one for one in (UNetLearner, PhantomLearner, ResNetLearner)}


def known_cross_entropy(scores_BN: Tensor, true_B: Tensor) -> Tensor:
    """The mean over the images that have a value, -1 being none; 0 where none has."""
    total = F.cross_entropy(scores_BN.float(), true_B, ignore_index=-1, reduction="sum")
    return total / (true_B >= 0).sum().clamp(min=1)


def contrast(similar_BB: Tensor, equal_BB: Tensor) -> Tensor:
    """Cross-entropy of images to texts and back; equal captions are right for each other's images."""
    target_BB = equal_BB.float() / equal_BB.sum(dim=1, keepdim=True)  # symmetric: equal ones have equal counts
    both = similar_BB.log_softmax(dim=1), similar_BB.T.log_softmax(dim=1)
    return -torch.stack([(target_BB * one).sum(dim=1).mean() for one in both]).mean()


def lesion_figures(scores_BKHW: Tensor, lesson: Lesson) -> dict[str, Tensor]:
    """Dice of the images with a lesion, and whether something is found where there is none."""
    found_BP, true_BP = scores_BKHW.argmax(dim=1).flatten(1) > 0, lesson.lesions.flatten(1) > 0
    hit_B, sizes_B = (found_BP & true_BP).sum(dim=1), found_BP.sum(dim=1) + true_BP.sum(dim=1)
    nothing_B = ~true_BP.any(dim=1)
    return {
        "dice": (2 * hit_B / sizes_B).masked_fill(nothing_B, torch.nan),
        "missed": (hit_B == 0).float().masked_fill(nothing_B, torch.nan),
        "false_alarm": found_BP.any(dim=1).float().masked_fill(~nothing_B, torch.nan),
    }


def class_figures(scores_BN: Tensor, lesson: Lesson) -> dict[str, Tensor]:
    """Whether the class with the highest score is the true one."""
    return {"class_accuracy": (scores_BN.argmax(dim=1) == lesson.classes).float()}

"""Where the published weights come from, what is in them, and under which terms. Facts only; nothing is loaded here."""

from dataclasses import dataclass, replace
from functools import partial


@dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """Mean and standard deviation (RGB, of values in 0..1) that the weights were trained with; they travel together."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file as its authors publish it."""

    name: str
    """Its name, also in the weights folder."""
    url: str = ""
    """The official address; empty where there is none that a program can read."""
    repository: str = ""
    """On the Hugging Face hub, ``owner/name``: the file lies there under its name. Empty where it is not there."""
    size_mb: int | None = None
    """Millions of bytes; None where no page states it."""
    sha256: str = ""
    """A file with another hash is refused; empty where nobody published one."""


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """The published weights of one model."""

    architecture: str
    """The name by which open_clip, timm, transformers or torchvision knows it."""
    activation: str
    input_size: int = 224
    """Side of the images that it was trained on, in pixels; other sizes interpolate the positions."""
    statistics: InputStatistics
    files: tuple[PublishedFile, ...]
    """Any one of them is enough; preferred first."""
    tokenizer: str = ""
    """How texts become numbers; empty for a model that reads no texts."""
    vocabulary: PublishedFile | None = None
    """The words of the tokenizer, unless a library includes them."""
    image_keys: str = ""
    """Prefix of the image tower's tensors; empty where all of a file is the image tower."""
    text_keys: tuple[str, ...] = ()
    """Prefixes of the text tower's tensors."""
    unused_keys: tuple[str, ...] = ()
    """Prefixes of tensors of a published file that the model does not need. Any other unused tensor is refused."""
    licence: str
    withheld: str = ""
    """Why an export must not contain the weights; empty where the licence allows to pass them on."""
    citation: str

    @property
    def statement(self) -> str:
        """What a user must know before using the weights."""
        return f"licence: {self.licence}; please cite {self.citation}"


OPENAI_STATISTICS = InputStatistics(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
IMAGENET_STATISTICS = InputStatistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
LOGIT_SCALE = "logit_scale"
CLIP_TEXT = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
CLIP_TOKENIZER = "CLIP's byte pairs, 77 tokens (part of open_clip)"
BERT_TOKENIZER = "BERT word pieces of BiomedBERT, lower case, 256 tokens (vocab.txt)"
BIOMEDCLIP = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
BIOMEDBERT_VOCABULARY = PublishedFile(
    name="vocab.txt", repository="microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", size_mb=1
)


def open_clip_files(repository: str) -> tuple[PublishedFile, PublishedFile]:
    """The two files in which open_clip publishes a CLIP ViT-B/16."""
    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    first, second = (PublishedFile(name=name, repository=repository, size_mb=599) for name in names)
    return first, second


_of_timm = partial(PublishedFile, repository="timm/vit_base_patch14_dinov2.lvd142m", size_mb=346)
_clip = partial(
    CatalogueEntry,
    architecture="ViT-B-16-quickgelu",
    activation="QuickGELU",
    statistics=OPENAI_STATISTICS,
    image_keys="visual.",
)
CATALOGUE: dict[str, CatalogueEntry] = {
    "CLIP": _clip(
        files=(
            PublishedFile(
                name="ViT-B-16.pt",
                url=(
                    "https://openaipublic.azureedge.net/clip/models/"
                    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/ViT-B-16.pt"
                ),
                size_mb=351,
                sha256="5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
            ),
            *open_clip_files("timm/vit_base_patch16_clip_224.openai"),
        ),
        tokenizer=CLIP_TOKENIZER,
        text_keys=CLIP_TEXT,
        unused_keys=("input_resolution", "context_length", "vocab_size"),
        licence="MIT (the repository of the weights; its model card calls deployment out of scope)",
        citation="Radford et al. 2021, arXiv:2103.00020",
    ),
    "MetaCLIP": _clip(
        files=(
            *open_clip_files("timm/vit_base_patch16_clip_224.metaclip_400m"),
            PublishedFile(name="b16_400m.pt", url="https://dl.fbaipublicfiles.com/MMPT/metaclip/b16_400m.pt"),
        ),
        tokenizer=CLIP_TOKENIZER,
        text_keys=CLIP_TEXT,
        licence="CC BY-NC 4.0: not for commercial use",
        citation="Xu et al. 2024, arXiv:2309.16671",
    ),
    "UniMedCLIP": _clip(
        files=(
            PublishedFile(name="unimed-clip-vit-b16.pt", repository="UzairK/unimed-clip-vit-b16"),
            PublishedFile(name="unimed_clip_vit_b16.pt"),
        ),
        tokenizer=BERT_TOKENIZER,
        vocabulary=BIOMEDBERT_VOCABULARY,
        text_keys=("text_encoder.",),
        unused_keys=("text_encoder.transformer.embeddings.position_ids",),
        licence="CC BY-NC 4.0: not for commercial use",
        citation="Khattak et al. 2024, arXiv:2412.10372",
    ),
    "BiomedCLIP": _clip(
        architecture="vit_base_patch16_224",
        activation="GELU",
        files=(
            PublishedFile(
                name="open_clip_pytorch_model.bin",
                repository=BIOMEDCLIP,
                size_mb=784,
                sha256="52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be",
            ),
            PublishedFile(name="open_clip_model.safetensors"),
        ),
        tokenizer=BERT_TOKENIZER,
        vocabulary=replace(BIOMEDBERT_VOCABULARY, repository=BIOMEDCLIP),
        text_keys=("text.",),
        unused_keys=("text.transformer.embeddings.position_ids",),
        licence="MIT (its model card: for research, not for clinical use)",
        citation="Zhang et al. 2023, arXiv:2303.00915",
    ),
    "DINOv2": CatalogueEntry(
        architecture="vit_base_patch14_dinov2",
        activation="GELU",
        input_size=518,
        statistics=IMAGENET_STATISTICS,
        files=(
            PublishedFile(
                name="dinov2_vitb14_pretrain.pth",
                url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
                size_mb=346,
                sha256="0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
            ),
            _of_timm(
                name="model.safetensors",
                sha256="55cbb5d887b336d430e649c277b85a1429e724871f9d02ac16203235886d8c7b",
            ),
            _of_timm(
                name="pytorch_model.bin",
                sha256="c8f07b5edc5f37f0ec8205fd8777d8c594281d05fc7abd4569f273ea3838e4d6",
            ),
        ),
        unused_keys=("mask_token",),
        licence="Apache-2.0",
        citation="Oquab et al. 2023, arXiv:2304.07193",
    ),
    "CLIPSeg": CatalogueEntry(
        architecture="CIDAS/clipseg-rd64-refined",
        activation="QuickGELU",
        input_size=352,
        statistics=IMAGENET_STATISTICS,
        files=(
            PublishedFile(name="model.safetensors", repository="CIDAS/clipseg-rd64-refined", size_mb=603),
            PublishedFile(name="pytorch_model.bin", repository="CIDAS/clipseg-rd64-refined", size_mb=603),
        ),
        tokenizer=CLIP_TOKENIZER,
        unused_keys=(
            "clip.vision_model.embeddings.position_ids",
            "clip.text_model.embeddings.position_ids",
        ),
        licence="Apache-2.0 on the hub; the authors' repository says that its licence does not cover the weights",
        withheld="the authors' repository says that its licence does not cover the weights",
        citation="Lüddecke and Ecker 2022, arXiv:2112.10003",
    ),
    "PhantomCLIP": CatalogueEntry(
        architecture="Phantom-16",
        activation="GELU",
        statistics=InputStatistics(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        files=(PublishedFile(name="checkpoint.safetensors"),),
        tokenizer="words by their hash, 64 of them (part of htunet)",
        image_keys="visual.",
        text_keys=("text.",),
        unused_keys=("decoder.", "heads."),
        licence="Apache-2.0 (part of htunet; trained on simulated images alone)",
        citation="htunet, htunet_pretrain PhantomCLIP",
    ),
    "ResNet18": CatalogueEntry(
        architecture="resnet18",
        activation="ReLU",
        statistics=IMAGENET_STATISTICS,
        files=(
            PublishedFile(
                name="resnet18-f37072fd.pth",
                url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
                size_mb=47,
                sha256="f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
            ),
        ),
        unused_keys=("fc.",),
        licence="BSD-3-Clause (torchvision; trained on ImageNet, whose terms allow research only)",
        citation="He et al. 2016, arXiv:1512.03385",
    ),
}

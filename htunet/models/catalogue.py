"""Where the weights of each backbone come from, and under which terms. Facts only; nothing is loaded here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """The published weights of one backbone."""

    files: tuple[str, ...]
    """Names that the file may have in the weights folder, preferred first."""
    url: str
    """The official address of one of the files."""
    sha256: dict[str, str]
    """Known hash by file name; a file with another one is refused."""
    hub: str
    """Repository on the Hugging Face hub that holds the same weights, and the file in it: ``owner/name:file``."""
    size_mb: int
    licence: str
    citation: str


CATALOGUE: dict[str, CatalogueEntry] = {
    "CLIP": CatalogueEntry(
        files=("ViT-B-16.pt", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
        url=(
            "https://openaipublic.azureedge.net/clip/models/"
            "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/ViT-B-16.pt"
        ),
        sha256={"ViT-B-16.pt": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"},
        hub="timm/vit_base_patch16_clip_224.openai:open_clip_model.safetensors",
        size_mb=335,
        licence="MIT (the repository of the weights; its model card calls deployment out of scope)",
        citation="Radford et al. 2021, arXiv:2103.00020",
    ),
}

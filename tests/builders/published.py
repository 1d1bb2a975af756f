"""Models of the libraries' own classes, and files of theirs as they are published."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import open_clip
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn
from transformers import BertConfig

from builders.backbone import TINY, tiny_clip, tiny_timm
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.timm_vit import TimmVision
from htunet.models.catalogue import CATALOGUE, OPENAI_STATISTICS
from htunet.models.text import TEXT_TOWERS
from htunet.models.text.bert import BertText
from htunet.models.text.clip import ClipText

EMBEDDING = 32
TINY_BERT = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
}
WORDS = "[PAD] [unused1] [UNK] [CLS] [SEP] [MASK] a benign malignant mass node with an ill - defined margin , . ##s"
BERTS = {"BiomedCLIP": "text.", "UniMedCLIP": "text_encoder."}


def write_vocabulary(folder: Path, **sizes: Any) -> Path:
    """A BERT's folder as the hub has it, without weights: the words, the sizes, and how words are cut."""
    folder.mkdir(parents=True, exist_ok=True)
    BertConfig(**sizes).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}')
    (folder / "vocab.txt").write_text("\n".join(WORDS.split()) + "\n", encoding="utf-8")
    return folder / "vocab.txt"


def their_model(name: str, bert: Path, *, tiny: bool) -> nn.Module:
    """A model of open_clip's own classes for a name of the catalogue; ``bert`` is a folder of ``write_vocabulary``."""
    entry = CATALOGUE[name]
    if name not in BERTS:
        config = open_clip.get_model_config(TINY if tiny else entry.architecture)
        return open_clip.CLIP(**config).eval()
    text = {
        "hf_model_name": str(bert),
        "hf_tokenizer_name": str(bert),
        "hf_model_pretrained": False,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 256,
    }
    if name == "BiomedCLIP":
        vision = {"timm_model_name": entry.architecture, "timm_pool": "", "timm_proj": "linear", "image_size": 224}
        model = CustomTextCLIP(EMBEDDING if tiny else 512, vision, text)
        if tiny:
            trunk = tiny_timm().trunk
            model.visual.trunk = trunk
            model.visual.head.proj = nn.Linear(trunk.embed_dim, EMBEDDING, bias=False)
        return model.eval()
    config = open_clip.get_model_config(TINY if tiny else entry.architecture)
    return CustomTextCLIP(config["embed_dim"], config["vision_cfg"], text, quick_gelu=True).eval()


def published_state(name: str, model: nn.Module) -> dict[str, Tensor]:
    """Its tensors under the names that the published file has."""
    state = dict(model.state_dict())
    if name == "UniMedCLIP":  # its authors' name for open_clip's ``text``
        state = {re.sub(r"^text\.", "text_encoder.", key): value for key, value in state.items()}
    if name in BERTS:  # a constant that transformers kept in files for long
        state[f"{BERTS[name]}transformer.embeddings.position_ids"] = torch.arange(24)[None]
    return state


def _tiny_biomedclip() -> TimmVision:
    trunk = tiny_timm().trunk
    return TimmVision(trunk, OPENAI_STATISTICS, nn.Linear(trunk.embed_dim, EMBEDDING, bias=False))


@contextmanager
def tiny_towers() -> Iterator[None]:
    """The names of backbones that read texts stand for tiny ones inside the block."""
    images = {name: _tiny_biomedclip if name == "BiomedCLIP" else tiny_clip for name in TEXT_TOWERS.names()}
    texts: dict[str, Any] = {name: lambda _: ClipText(TINY) for name in TEXT_TOWERS.names() if name not in BERTS}
    texts |= {name: partial(BertText, prefix, embedding=EMBEDDING, **TINY_BERT) for name, prefix in BERTS.items()}
    with patch.dict(BACKBONES._entries, images), patch.dict(TEXT_TOWERS._entries, texts):
        yield

"""Embeddings of many images or texts, in batches; those of a frozen text tower are computed once and stored on disk.

Dimension key: N of all, E embedding, C channels, H W pixels, L tokens.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from htunet.errors import counted
from htunet.files import LONG_WAIT, exclusive
from htunet.models import checkpoint
from htunet.models.dual_encoder import DualEncoder
from htunet.models.precision import FP32, check_numbers, fp32_products

BATCH = 64


@torch.inference_mode()
def embed_images(network: DualEncoder, images_NCHW: NDArray[np.uint8], rows: Sequence[int]) -> NDArray[np.float32]:
    """(len(rows), E) of unit length in fp32, on the network's device; only a batch of images is in memory at a time."""
    device, found = network.logit_scale.device, []
    for start in tqdm(range(0, len(rows), BATCH), desc="images", unit="batch", disable=None):
        batch = torch.from_numpy(np.ascontiguousarray(images_NCHW[list(rows[start : start + BATCH])]))
        with fp32_products(FP32):
            found.append(network.encode_image(batch.to(device)).cpu())
        check_numbers(found[-1], FP32)
    return torch.cat(found).numpy()


@torch.inference_mode()
def embed_texts(network: DualEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """(len(texts), E) of unit length in fp32; equal texts are embedded once."""
    distinct = list(dict.fromkeys(texts))
    number = {text: index for index, text in enumerate(distinct)}
    by_length = sorted(distinct, key=len)  # so that little of a batch is padding
    batches = tqdm(range(0, len(distinct), BATCH), desc="texts", unit="batch", disable=None)
    parts = [network.encode_text(by_length[start : start + BATCH]).cpu() for start in batches]
    check_numbers(embedded := torch.cat(parts), FP32)
    embedded_NE = embedded.numpy()
    place = np.empty(len(distinct), dtype=np.intp)
    place[[number[text] for text in by_length]] = np.arange(len(distinct))
    return embedded_NE[place[[number[text] for text in texts]]]


def stored_text_embeddings(
    folder: Path, network: DualEncoder, text_sha256: str, texts: Sequence[str]
) -> NDArray[np.float32]:
    """``embed_texts``, (N, E), of a frozen text tower, from a file in ``folder`` where it has been computed before.

    The file's name is the hash of the tower's weights and of the texts' tokens, so it never serves other ones.
    """
    digest = hashlib.sha256(text_sha256.encode())
    for row in tokens(network, texts):
        digest.update(row.numpy().tobytes() + b";")
    path = folder / f"{digest.hexdigest()[:32]}.safetensors"
    with exclusive(
        folder / f".lock-{path.stem}", str(path), wait=LONG_WAIT
    ):  # runs may want the same texts at one moment
        if not path.exists():
            embedded_NE = torch.from_numpy(embed_texts(network, texts))
            checkpoint.save(path, {"texts": embedded_NE}, {"text_sha256": text_sha256})
    return checkpoint.load(path)[0]["texts"].numpy()


def tokens(network: DualEncoder, texts: Sequence[str]) -> list[Tensor]:
    """The numbers of each text's tokens, (L,) int64 without padding, from the text tower's tokenizer."""
    rows: list[Tensor] = []
    for start in range(0, len(texts), BATCH):
        ids_BL = network.text.tokenize(list(texts[start : start + BATCH]))
        rows += [torch.from_numpy(np.trim_zeros(ids.numpy(), "b").copy()) for ids in ids_BL]
    return rows


def long_texts_note(network: DualEncoder, texts: Sequence[str]) -> str:
    """A note where texts fill all tokens that the text tower reads, so that their ends may be cut off; else empty."""
    most = network.text.context_length
    full = sum(len(row) >= most for row in tokens(network, texts))
    what = f"{full} of {counted(len(texts), 'text')} fill the {most} tokens that the text encoder reads"
    return f"{what}; what is beyond is left out." if full else ""


def padded(rows: Sequence[Tensor]) -> Tensor:
    """(B, L) numbers of tokens, 0 after the end of a text."""
    return pad_sequence(list(rows), batch_first=True, padding_value=0)

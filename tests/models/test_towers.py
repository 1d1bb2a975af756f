"""Image and text towers of every model that reads texts, against the libraries' own classes and forward passes."""

import copy
import re
from pathlib import Path

import pytest
import torch
from builders.backbone import draw, frozen_state, one_of_a_class, pictures
from builders.published import BERTS, TINY_BERT, published_state, their_model, tiny_towers, write_vocabulary
from open_clip import get_tokenizer
from open_clip.model import resize_pos_embed
from open_clip.tokenizer import HFTokenizer
from torch import nn

from htunet.errors import HtunetError, UsageError
from htunet.models.backbones import BACKBONES
from htunet.models.build import build_network, method_names
from htunet.models.catalogue import CATALOGUE
from htunet.models.dual_encoder import DualEncoder, build_dual_encoder
from htunet.models.embeddings import padded, tokens
from htunet.models.tasks import Outputs
from htunet.models.text import TEXT_TOWERS
from htunet.models.text.bert import WordPieces
from htunet.models.weights.load import image_state, tensor_hash, text_state

OF_LIBRARIES = [name for name in TEXT_TOWERS.names() if name != "PhantomCLIP"]
TEXTS = ["A benign node, with an ill-defined margin.", "malignant", "a mass with nodes " * 12]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("bert"), **TINY_BERT).parent


@pytest.fixture(scope="module", params=OF_LIBRARIES)
def pair(
    request: pytest.FixtureRequest, bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, nn.Module, DualEncoder]:
    """A library's tiny model with drawn weights, and ours made of the file that it saves."""
    name = request.param
    torch.manual_seed(0)
    theirs = their_model(name, bert, tiny=True)
    for number, part in enumerate(theirs.children()):
        draw(part, seed=number)
    path = tmp_path_factory.mktemp(name) / "published.pt"
    torch.save({f"module.{key}": value for key, value in published_state(name, theirs).items()}, path)
    (path.parent / "vocab.txt").write_bytes((bert / "vocab.txt").read_bytes())
    with tiny_towers():
        ours, _ = build_dual_encoder(name, seed=1, weights=str(path))
    return name, theirs, ours.eval()


@pytest.mark.parametrize("size", [64, 96])
@torch.inference_mode()
def test_image_embeddings_equal_the_librarys(pair: tuple[str, nn.Module, DualEncoder], size: int) -> None:
    name, theirs, ours = pair
    images = torch.randint(0, 256, (3, 3, size, size), generator=torch.Generator().manual_seed(1))
    if size != 64:
        theirs = resized(name, theirs, size)
    expected = nn.functional.normalize(theirs.encode_image(ours.normalise(images)), dim=1)
    assert expected.std(dim=0).max() > 1e-3
    torch.testing.assert_close(ours.encode_image(images), expected, rtol=1e-5, atol=1e-5)


def resized(name: str, theirs: nn.Module, size: int) -> nn.Module:
    """The library's model for images of another size, with the positions that the library gives it."""
    theirs = copy.deepcopy(theirs)
    if hasattr(theirs.visual, "trunk"):
        theirs.visual.trunk.set_input_size((size, size))
        return theirs
    state = {"visual.positional_embedding": theirs.visual.positional_embedding.detach().clone()}
    theirs.visual.grid_size = (size // 16, size // 16)
    resize_pos_embed(state, theirs)
    theirs.visual.positional_embedding = nn.Parameter(state["visual.positional_embedding"])
    return theirs


@torch.inference_mode()
def test_text_embeddings_equal_the_librarys_with_its_own_tokenizer(
    pair: tuple[str, nn.Module, DualEncoder], bert: Path
) -> None:
    name, theirs, ours = pair
    tokenizer = HFTokenizer(str(bert), context_length=24) if name in BERTS else get_tokenizer("ViT-B-16")
    expected = nn.functional.normalize(theirs.encode_text(tokenizer(TEXTS)), dim=1)
    assert expected.std(dim=0).max() > 1e-3
    torch.testing.assert_close(ours.encode_text(TEXTS), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_text_has_the_same_embedding_alone_and_among_longer_ones(pair: tuple[str, nn.Module, DualEncoder]) -> None:
    ours = pair[2]
    torch.testing.assert_close(ours.encode_text(TEXTS)[1:2], ours.encode_text(TEXTS[1:2]), rtol=1e-5, atol=1e-5)
    odd = ["cyst!(5 mm)", "a node"]  # CLIP's number of "!" before another sign is 0, as behind the end of a text
    expected = ours.encode_text([*odd, TEXTS[2]])[:2]
    torch.testing.assert_close(ours.encode_text(odd), expected, rtol=1e-5, atol=1e-5)
    padded_rows = padded(tokens(ours, odd))
    torch.testing.assert_close(ours.embed_text(padded_rows), expected, rtol=1e-5, atol=1e-5)


def test_the_scale_of_the_similarities_is_the_published_one(pair: tuple[str, nn.Module, DualEncoder]) -> None:
    assert pair[2].logit_scale.item() == pytest.approx(pair[1].logit_scale.exp().item(), rel=1e-6)


@pytest.mark.parametrize("name", OF_LIBRARIES)
def test_every_tensor_of_a_file_of_real_size_has_its_place(name: str, tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    with torch.device("meta"):
        state = published_state(name, their_model(name, tmp_path, tiny=False))
        towers = (BACKBONES[name](), image_state), (TEXT_TOWERS[name](None), text_state)
    for tower, part_of in towers:
        found = {key: value.shape for key, value in part_of(state, CATALOGUE[name], tower.own_key).items()}
        assert found == {key: value.shape for key, value in tower.state_dict().items()}


@pytest.mark.parametrize("name", OF_LIBRARIES)
def test_tensors_of_the_text_tower_are_loaded_strictly(name: str, bert: Path, tmp_path: Path) -> None:
    state = published_state(name, their_model(name, bert, tiny=True))
    lost = next(key for key in state if key.startswith(CATALOGUE[name].text_keys) and key.endswith("weight"))
    del state[lost]
    (tmp_path / "vocab.txt").write_bytes((bert / "vocab.txt").read_bytes())
    for odd, message in (({}, "1 missing: .*weight"), ({"odd.one": torch.zeros(1)}, r"1 unexpected: .*odd\.one")):
        torch.save(state | odd, tmp_path / "damaged.pt")
        with tiny_towers(), pytest.raises(HtunetError, match=message):
            build_dual_encoder(name, seed=1, weights=str(tmp_path / "damaged.pt"))


@pytest.mark.parametrize("name", OF_LIBRARIES)
def test_random_towers_work_without_any_file_and_are_the_same_in_every_build(name: str, home: Path) -> None:
    with tiny_towers():
        first, record = build_dual_encoder(name, seed=1, weights="random")
        second, again = build_dual_encoder(name, seed=2, weights="random")
    assert record == again
    assert record.text_sha256 == tensor_hash(first.text) != record.sha256
    embeddings = first.encode_text(["a benign node", "a malignant node", "a benign node"])
    assert embeddings.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    torch.testing.assert_close(embeddings[0], embeddings[2])
    assert (embeddings[0] - embeddings[1]).abs().max() > 1e-5
    torch.testing.assert_close(second.encode_text(["a benign node"])[0], embeddings[0])


@pytest.mark.parametrize("name", sorted(BERTS))
def test_pretrained_towers_without_their_words_say_how_to_get_them(name: str, home: Path) -> None:
    torch.save({}, home / "some.pt")
    with (
        tiny_towers(),
        pytest.raises(HtunetError, match=rf"words of {name}.*vocab\.txt.*htunet_weights download {name}"),
    ):
        build_dual_encoder(name, seed=1, weights=str(home / "some.pt"))


def test_a_list_of_words_without_berts_signs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(HtunetError, match=r"vocab\.txt is not a vocabulary of BERT: it lacks \[PAD\]"):
        WordPieces(tmp_path / "vocab.txt", 24, 7)


def test_the_number_of_a_word_is_its_line(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2028", "\x85", "node"]
    (tmp_path / "vocab.txt").write_bytes("\n".join([*words, ""]).encode())
    assert WordPieces(tmp_path / "vocab.txt", 24, 7)(["node"]) == [[2, 6, 3]]
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*words, ""]).encode())
    assert WordPieces(tmp_path / "vocab.txt", 24, 7)(["node"]) == [[2, 6, 3]]


def test_the_words_of_another_bert_are_refused_and_of_a_part_of_them_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """bert-base-uncased has as many words as BiomedBERT, in another order: [CLS] is number 101 there, not 2."""
    path = tmp_path / "vocab.txt"
    googles = ["[PAD]", *(f"[unused{number}]" for number in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path.write_text("\n".join([*googles, ""]), encoding="utf-8")
    with pytest.raises(HtunetError, match=r"it has 104 words, \[PAD\] with the number 0 and \[CLS\] with 101"):
        WordPieces(path, 24, 104)
    for other in (["[PAD]", "new", *googles[1:]], sorted(googles), ["node", *googles[-4:], "[PAD]"]):
        path.write_text("\n".join([*other, ""]), encoding="utf-8")
        with pytest.raises(HtunetError, match="of another BERT"):
            WordPieces(path, 24, len(other))
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nnode\n", encoding="utf-8")
    with pytest.raises(HtunetError, match="it has 5 words"):
        WordPieces(path, 24, 4)
    WordPieces(path, 24, 5)
    assert not caplog.text
    WordPieces(path, 24, 6)
    assert "has 5 of the text encoder's 6 words" in caplog.text


OURS = ("HT", "HTNE", "HTFF", "HTSpectral", "Mona", "LoRA", "LoRAVT", "FullFT")
"""Adapters of which is known what acts on the patches alone."""


@pytest.mark.parametrize(
    "method", [name for name in one_of_a_class(method_names()) if name.split("_")[0] in TEXT_TOWERS]
)
def test_one_step_changes_exactly_the_trainable_part(method: str, home: Path) -> None:
    with tiny_towers():
        model, _ = build_dual_encoder(method, seed=1, weights="random")
    frozen = {key: value.clone() for key, value in frozen_state(model).items()}
    if not model.trainable_parameters():
        with torch.no_grad():
            assert model.encode_image(torch.zeros(1, 1, 64, 64)).shape == (1, 32)
        return
    before = {key: value.clone() for key, value in model.trainable_state().items()}
    assert len(before) == len(model.trainable_parameters())
    model.train()
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=10.0)
    images = (60 * pictures(4, 1, 64, 64) + 128).clamp(0, 255)
    texts = ["a benign node", "a malignant mass", "an ill-defined margin", "a mass with nodes"]
    for _ in range(2):  # twice: a projection that starts at zero hides the other one's first gradient
        optimizer.zero_grad()
        scores = 10 * model.encode_image(images) @ model.encode_text(texts).T
        nn.functional.cross_entropy(scores, torch.arange(4)).backward()
        optimizer.step()
    still = {key for key, value in model.trainable_state().items() if torch.equal(value, before[key])}
    after = {key for key in before if acts_on_patches_after_the_last_block(key)}
    assert still == after if method.split("_")[-1] in OURS else still <= after
    assert all(torch.equal(value, frozen[key]) for key, value in frozen_state(model).items())


def acts_on_patches_after_the_last_block(key: str) -> bool:
    """The embedding is made of the class token, which skips the adapters' spatial part; after it there is no block."""
    return re.match(r"adapters\.11\.(?!gamma|norm|down|up)", key) is not None


def test_a_method_without_texts_is_refused() -> None:
    with pytest.raises(UsageError, match=r"UNet has no text encoder.*BiomedCLIP, CLIP"):
        build_dual_encoder("UNet", seed=1, weights="random")


def test_what_stage_1_trains_has_the_names_that_stage_2_loads(home: Path) -> None:
    with tiny_towers():
        first, record = build_dual_encoder("CLIP_HT", seed=1, weights="random")
        second, other = build_network("CLIP_HT", Outputs(), seed=1, weights="random")
    adapters = {key: value.shape for key, value in second.trainable_state().items() if key.startswith("adapters.")}
    assert {key: value.shape for key, value in first.trainable_state().items()} == adapters
    assert record.identity == other.identity

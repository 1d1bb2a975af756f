"""What was measured with other weights, on another plan or on fewer images is never read as the same."""

from pathlib import Path

from benchmarks.phantom_transfer import cases_file


def test_each_weights_plan_and_number_of_images_has_a_file_of_its_own(tmp_path: Path) -> None:
    for weights in ("one", "other"):
        for network in ("UNet", "PhantomCLIP"):
            path = tmp_path / weights / network / "checkpoint.safetensors"
            path.parent.mkdir(parents=True)
            path.write_text(weights if network == "UNet" else "the same", encoding="utf-8")
    for plan in ("paper", "adaptive"):
        (tmp_path / "Dataset503_BUSI" / plan).mkdir(parents=True)
        (tmp_path / "Dataset503_BUSI" / plan / "preprocessed.json").write_text("{}", encoding="utf-8")
    of = tmp_path / "Dataset503_BUSI"
    first = cases_file("UNet", tmp_path / "one", of / "paper", None)
    assert first.startswith("UNet_Dataset503_BUSI_paper_")
    assert cases_file("UNet", tmp_path / "one", of / "paper", None) == first
    others = {
        cases_file("UNet", tmp_path / "other", of / "paper", None),
        cases_file("UNet+PhantomCLIP", tmp_path / "other", of / "paper", None),
        cases_file("UNet+PhantomCLIP", tmp_path / "one", of / "paper", None),
        cases_file("UNet", tmp_path / "one", of / "adaptive", None),
        cases_file("UNet", tmp_path / "one", of / "paper", 8),
    }
    assert len(others | {first}) == 6
    (of / "paper" / "preprocessed.json").write_text('{"plan": "paper"}', encoding="utf-8")  # prepared again
    assert cases_file("UNet", tmp_path / "one", of / "paper", None) != first

"""nnU-Net's predictor, for a comparison: see ``benchmarks.side``. Runs in an environment with nnU-Net v2.

The network is that of the plans which nnU-Net has made, with random weights, which change no time.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from benchmarks.side import network_text, serve


def main(spec: dict[str, Any]) -> None:
    """Predict files, one after another, without test-time mirroring, which would cost four times as much."""
    folder = Path(spec["dataset"])
    plans = PlansManager(str(folder / "nnUNetPlans.json"))
    facts, configuration = json.loads((folder / "dataset.json").read_text()), plans.get_configuration("2d")
    network = nnUNetTrainer.build_network_architecture(
        plans, configuration, len(facts["channel_names"]), len(facts["labels"]), enable_deep_supervision=False
    )
    predictor = nnUNetPredictor(use_mirroring=False, perform_everything_on_device=False, allow_tqdm=False,
                                device=torch.device("cpu"))  # fmt: skip
    predictor.manual_initialization(network, plans, configuration, [network.state_dict()], facts, "nnUNetTrainer", None)
    outputs = [str(Path(spec["output"], Path(path).stem)) for path in spec["files"]]

    def predict() -> None:
        predictor.predict_from_files_sequential([[path] for path in spec["files"]], outputs, overwrite=True)

    patch = torch.zeros(1, len(facts["channel_names"]), *configuration.patch_size)
    sides = " x ".join(map(str, configuration.patch_size))
    about = {"version": version("nnunetv2"), "network": f"{network_text(network, patch)} of {sides} pixels"}
    serve(about, {"predict": predict})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

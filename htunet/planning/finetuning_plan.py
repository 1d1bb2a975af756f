"""The plan of stage 1: the paper's settings for fine-tuning an adapter on captions."""

from htunet.planning import rules
from htunet.planning.hardware import find_hardware
from htunet.planning.planner import PAPER, PAPER_SETTINGS
from htunet.planning.plans import STRETCH, Plan

EPOCHS = 32
NAME = "finetuning"


def finetuning_plan(
    dataset: str,
    *,
    batch_size: int,
    learning_rate: float,
    input_size: tuple[int, int],
    devices: int = 1,
    parts: int | None = None,
    memory_gb: float | None = None,
) -> Plan:
    """The plan for the data sets called ``dataset``; ``parts`` None: as few as fit into a device's memory.

    Captions have no labels and no classes, and images are not augmented: a caption may say left.
    """
    hardware = find_hardware(memory_gb)
    per_device = -(-batch_size // devices)
    accumulation, why = (parts, "given") if parts else rules.accumulation(per_device, input_size, hardware)
    workers, why_workers = rules.workers(hardware)
    return Plan(
        name=NAME,
        dataset=dataset,
        channels=3,
        labels={"background": 0},
        classes={},
        geometry=STRETCH,
        crop_border=False,
        input_size=input_size,
        batch_size=batch_size,
        accumulation=accumulation,
        workers=workers,
        num_epochs=EPOCHS,
        learning_rate=learning_rate,
        betas=PAPER_SETTINGS["betas"],
        weight_decay=PAPER_SETTINGS["weight_decay"],
        patience=None,
        class_weights={},
        augmentation={},
        because={
            "num_epochs": PAPER,
            "betas": PAPER,
            "weight_decay": PAPER,
            "accumulation": why,
            "workers": why_workers,
        },
    )

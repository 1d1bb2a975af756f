"""The plan of stage 1: the paper's settings for fine-tuning an adapter on captions."""

from htunet.planning.planner import PAPER, PAPER_SETTINGS
from htunet.planning.plans import STRETCH, Plan

EPOCHS = 32
NAME = "finetuning"


def finetuning_plan(dataset: str, *, batch_size: int, learning_rate: float, input_size: tuple[int, int]) -> Plan:
    """The plan for the data sets called ``dataset``.

    Captions have no labels and no classes, and images are not augmented: a caption may say left.
    """
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
        num_epochs=EPOCHS,
        learning_rate=learning_rate,
        betas=PAPER_SETTINGS["betas"],
        weight_decay=PAPER_SETTINGS["weight_decay"],
        patience=None,
        class_weights={},
        augmentation={},
        because=dict.fromkeys(("num_epochs", "betas", "weight_decay"), PAPER),
    )

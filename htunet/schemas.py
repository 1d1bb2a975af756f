"""What the JSON files of runs hold, as far as htunet reads it: checked when a file is read (``records.check_schema``).

Keys that earlier versions did not write have a question mark; keys that are not named here may be there too.
"""

from htunet.records import NAME, Schema

NUMBER: Schema = (float, None)
TEXT: Schema = (str, None)
WEIGHTS: Schema = ({"source?": TEXT, "file?": TEXT, "sha256?": TEXT, "text_sha256?": TEXT}, None)
START: Schema = {"dataset?": TEXT, "fold?": (int, None)}
ADAPTER: Schema = ({"datasets?": ([NAME], None), "shuffled_captions?": (bool, None), "run?": START}, str, None)
COMPARED: Schema = {"shared_images?": ({str: [str]}, None), "not_compared?": [str]}
TRAINED_ON: Schema = ({"dataset?": NAME, "part?": str, "cases?": [NAME], **COMPARED}, None)
VERSIONS: Schema = {str: (str, bool, int, None)}
SETTINGS: Schema = {
    **{"dataset?": NAME, "datasets?": [NAME], "method?": NAME, "task?": str, "plan?": NAME, "trainer?": NAME},
    **{"fold?": int, "seed?": int, "num_epochs?": int, "trainable_parameters?": int, "ratio?": NUMBER},
    **{"precision?": str, "weights_argument?": str, "split_sha256?": TEXT, "data_sha256?": TEXT},
    **{"weights?": WEIGHTS, "adapter?": ADAPTER, "trained_on?": TRAINED_ON, "made_by?": VERSIONS},
    "few_shot?": ({"ratio?": float, "training_images?": int}, None),
    "plan_content?": {"accumulation?": (int, None), "batch_size?": int, "labels?": {str: int}, "classes?": {str: int}},
    **{"shuffled_captions?": bool, "start_from?": TEXT},
    **{"adapter_argument?": str, "start_argument?": str, "start_licence?": TEXT},
    "start_checkpoint?": START | {"sha256?": str},
    **{"parts?": (int, None), "threads?": (int, None), "continued_with?": [{str: (int, [(str, int, None)])}]},
}
FAMILIAR: Schema = {
    **{"mean_S": [float], "scale_S": [float], "axes_AS": [[float]], "variances_A": [float], "rest": float},
    "held_out_N": [float],
}
POSTPROCESSING: Schema = {"smallest_share?": float, "largest_component?": bool, "fill_holes?": bool}
CHOSEN: Schema = {"method": NAME, "adapter?": str, "runs?": {str: {"trained": str, "tested": str}}}
CHOICE: Schema = {"seg?": CHOSEN | {"postprocessing?": {"steps": POSTPROCESSING}}, "cls?": CHOSEN}
CANDIDATE: Schema = {"method": NAME, "task": str, "weights?": str, "epoch_seconds?": float}
SCHEDULE: Schema = {
    "request": {"hours": float, "folds": int, "methods": [str]},
    "schedule": {
        **{"candidates": [CANDIDATE], "num_folds": int, "scale": float, "num_epochs": int, "seconds": float},
        "given_up": [str],
        "settled?": bool,
    },
}
"""Of ``htunet_run``: what was asked for, and what is trained in the time there is."""
QUALITY: Schema = {
    "methods?": {str: {"expected": [float], "dice": [float]}},
    **{"familiar?": [FAMILIAR], "postprocessing?": POSTPROCESSING, "calibrated_on?": str, "note?": str},
    "weights?": {str: str},
}
MEMBERS: Schema = [{"method": NAME, "fold": int, "seed": int, "weights": WEIGHTS, "checkpoint": NAME}]
FINISHED: Schema = {"epochs?": int, "best_epoch?": int}

ESTIMATE: Schema = ({"mean?": NUMBER, "value?": NUMBER, "low?": NUMBER, "high?": NUMBER, "n_used?": int}, None)
DECISION: Schema = {"threshold?": NUMBER, "chosen?": str, "figures?": {str: ESTIMATE}, "confusion?": [[int]]}
CALIBRATION: Schema = (
    {"bins?": [{"low": float, "high": float, "n": int, "confidence": NUMBER, "accuracy": NUMBER}]},
    None,
)
CLASSIFICATION: Schema = {
    **{"format?": int, "classes": [str], "positive": TEXT, "averaging?": str, "n_cases": int},
    **{"cases_by_class?": {str: int}, "validation_cases?": int, "auc?": ESTIMATE, "average_precision?": NUMBER},
    "decisions?": {str: DECISION},
    "calibration?": {"before?": CALIBRATION, "after?": CALIBRATION, "temperature?": NUMBER},
    "curves?": {str: {str: {str: [float]}}},
    "cases": [
        {
            **{"case": NAME, "class": str, "group": TEXT},
            **{"probabilities": {str: float}, "decided": {str: str}},
        }
    ],
    "notes?": [str],
}
LABEL_VALUES: Schema = {int: {"empty?": TEXT, str: NUMBER}}
MASK_CASE: Schema = {
    "metrics": {int: {str: NUMBER}},
    "prediction_file?": str,
    "reference_file?": str,
    "htunet": {
        **{"case": NAME, "class": TEXT, "group": TEXT, "spacing_mm?": (float, [float], None)},
        **{"input_size?": LABEL_VALUES, "original_size?": LABEL_VALUES},
    },
}
OWN: Schema = {
    **{"format?": int, "dataset": NAME, "trainer?": NAME, "method": NAME, "plan": NAME, "task": str},
    **{"fold": int, "seed": int, "ratio?": NUMBER, "trained_on?": TRAINED_ON, "num_epochs?": (int, None)},
    **{"trainable_parameters?": (int, None), "weights?": WEIGHTS, "epochs?": (int, None), "settings?": SETTINGS},
    **{"labels?": {str: int}, "split_sizes?": {str: int}, "policy?": str, "policy_means?": str, "n_cases?": int},
    "empty?": {str: {str: [str]}},
    "means?": {str: {str: ESTIMATE}},
    "means_by_label?": {str: {str: {str: ESTIMATE}}},
    "notes?": [str],
    "evaluated_with?": VERSIONS,
    "classification?": CLASSIFICATION,
}
SUMMARY: Schema = {
    "foreground_mean?": {str: NUMBER},
    "mean?": {str: {str: NUMBER}},
    "metric_per_case?": [MASK_CASE],
    "htunet": OWN,
}
"""summary.json of a run's test split."""
ZERO_SHOT: Schema = {
    **{"dataset": NAME, "method": NAME, "plan": NAME, "part?": str, "split?": str, "seed": int, "prompts?": str},
    **{"weights": {"source": TEXT}, "adapter?": ADAPTER, "made_by?": VERSIONS, "images_without_class?": int},
    "plan_edited?": bool,
    "zero_shot": {
        **{"classes?": [str], "n_cases": int, "auc?": ESTIMATE, "accuracy?": ESTIMATE, "confusion_matrix?": [[int]]},
        "prompts?": [{"class": str, "text": str, "auc?": NUMBER}],
    },
}
SPLITS_MADE: Schema = {"format?": int, "rule?": str, "split_by?": str, "excluded?": [NAME], "left_out?": [NAME]}

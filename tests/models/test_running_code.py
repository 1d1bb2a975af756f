"""Where the package could run code that a file brings along, or start a program: a short list, held here."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [path for package in ("htunet", "dataset_conversion") for path in sorted((ROOT / package).rglob("*.py"))]
RUN_CODE = {"eval", "exec", "compile", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"}
READ_CODE = {
    "torch.load",
    "torch.jit.load",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.load",
    "marshal.loads",
    "joblib.load",
    "shelve.open",
    "pandas.read_pickle",
    "pd.read_pickle",
}
START_PROGRAMS = ("htunet/experiments/", "htunet/reproducibility.py")


def uses() -> list[tuple[str, str, ast.AST]]:
    """(file, dotted name, node) of every call and of every base of a class."""
    found: list[tuple[str, str, ast.AST]] = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found.append((str(path.relative_to(ROOT)), ast.unparse(node.func), node))
            elif isinstance(node, ast.ClassDef):
                found += [(str(path.relative_to(ROOT)), ast.unparse(base), node) for base in node.bases]
    return found


USES = uses()


def test_no_text_is_run_as_code() -> None:
    assert not [(file, name) for file, name, _ in USES if name in RUN_CODE]


def test_weights_are_read_in_one_place_and_by_readers_that_know_tensors_only() -> None:
    readers = [(file, name) for file, name, _ in USES if name in READ_CODE]
    assert readers == [
        ("htunet/models/weights/formats.py", "torch.load"),
        ("htunet/models/weights/torchscript.py", "pickle.Unpickler"),  # a class that refuses all but tensors
    ]
    (load,) = [node for _, name, node in USES if name == "torch.load"]
    assert isinstance(load, ast.Call)
    assert {item.arg: ast.unparse(item.value) for item in load.keywords}["weights_only"] == "True"


def test_arrays_of_numpy_hold_no_objects() -> None:
    loads = [node for _, name, node in USES if name in ("np.load", "numpy.load") and isinstance(node, ast.Call)]
    assert loads
    for load in loads:  # the default of allow_pickle is False
        assert {item.arg: ast.unparse(item.value) for item in load.keywords}.get("allow_pickle", "False") == "False"


def test_programs_are_started_by_the_modules_that_are_known_to_and_without_a_shell() -> None:
    calls = [(file, node) for file, name, node in USES if name.split(".")[0] == "subprocess"]
    assert calls
    for file, call in calls:
        assert file.startswith(START_PROGRAMS)
        assert isinstance(call, ast.Call)
        assert "shell" not in {item.arg for item in call.keywords}


def test_files_are_read_through_one_place_that_bounds_them_and_refuses_devices() -> None:
    """Libraries that open a file by its name get it after ``check_file``; what is left reads files of the system."""
    readers = ("json.load", "json.loads", "pd.read_csv", "pandas.read_csv", "tomllib.load")
    known = {
        ("htunet/archives.py", "file.open"),  # of a folder of ours
        ("htunet/archives.py", "tarfile.open"),  # of a file that open_file has opened
        ("htunet/inference/by_ray.py", "json.loads"),  # what the process that started the workers gives them
        ("htunet/data/preprocessed.py", "self.masks_npy.open"),  # which open_array has checked
        ("htunet/files.py", "json.loads"),
        ("htunet/files.py", "Path(f'/proc/{pid}/stat').read_text"),
        ("htunet/parallel.py", "Path('/sys/fs/cgroup/cpu.max').read_text"),
        ("htunet/planning/hardware.py", "of_process.read_text"),
        ("htunet/planning/hardware.py", "path.read_text"),
        ("htunet/inference/run_onnx.py", "json.loads"),  # a script for programs without htunet, on its own folder
        ("htunet/inference/run_onnx.py", "(here / 'preprocessing.json').read_text"),
        ("htunet/inference/run_onnx.py", "path.read_bytes"),
        ("htunet/inference/onnx_tables.py", "self.path.open"),
        ("htunet/models/weights/download.py", "part.open"),  # to write
        ("htunet/preprocessing/preprocess.py", "(folder / name).open"),  # to synchronise
        ("htunet/reporting/report/page.py", "(TEMPLATES / name).read_text"),
        ("htunet/reporting/tables/paper_figures.py", "resource.read_text"),
    }
    found = set()
    for file, name, node in USES:
        if not isinstance(node, ast.Call):
            continue
        arguments = [ast.unparse(argument) for argument in (*node.args, *(item.value for item in node.keywords))]
        opens = name.split(".")[-1] == "open" and name not in ("os.open", "Image.open", "archive.open", "opened.open")
        writes = any(argument.strip("'\"") in ("w", "wb", "x", "xb", "a", "ab", "r+b") for argument in arguments)
        of_our_own = any(argument.startswith("json.dumps(") for argument in arguments)
        if (
            (opens and not writes)
            or name.split(".")[-1] in ("read_text", "read_bytes")
            or (name in readers and not of_our_own)
        ):
            found.add((file, name))
    assert {item for item in found if item[1] not in ("read_text", "read_bytes")} == known

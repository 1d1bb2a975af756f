"""Metadata, dependencies, extras and console scripts: their only home."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
COMMANDS = (
    "convert",
    "run",
    "plan_and_preprocess",
    "pretrain",
    "finetune",
    "train",
    "predict",
    "zero_shot",
    "retrieval",
    "evaluate",
    "table1",
    "tables",
    "reproduce",
    "figures",
    "robustness",
    "report",
    "weights",
    "export",
    "import_",
    "review",
    "demo",
)
ONNX = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"]
DICOM = ["highdicom>=0.26"]
TRANSLATE = ["accelerate>=1.1"]
RAY = ["ray[data]>=2.40"]
SLURM = ["submitit>=1.5.2"]
BROWSER = ["playwright>=1.49"]
TEST = [
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.7",
    "medpy>=0.5.2",
    "pycocotools>=2.0.8",
    "statsmodels>=0.14",
    *ONNX,
    *DICOM,
    *TRANSLATE,
    *SLURM,
]
LINT = ["ruff>=0.8", "mypy>=1.13"]


def version() -> str:
    """The version, which stands in the package so that a command can say it without a look at the installation."""
    found = re.search(r'^__version__ = "(.+)"$', (HERE / "htunet" / "__init__.py").read_text(encoding="utf-8"), re.M)
    if not found:
        raise RuntimeError('htunet/__init__.py has no line __version__ = "...".')
    return found[1]


setup(
    name="htunet",
    version=version(),
    description="Self-configuring ultrasound segmentation and classification with frozen vision-language backbones",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="htunet contributors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["ultrasound", "segmentation", "classification", "CLIP", "adapter", "vision-language", "BUSI"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Intended Audience :: Healthcare Industry",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["htunet*", "dataset_conversion*", "results_template"]),
    package_data={
        "results_template": ["*.csv", "*.md"],
        "dataset_conversion": ["*.md"],
        "htunet": [
            "py.typed",
            "data/*.json",
            "pretrained/*.md",
            "pretrained/*/*.json",
            "pretrained/*/*.safetensors",
            "reporting/report/*.html",
            "reporting/report/*.css",
            "reporting/report/*.js",
        ],
    },
    install_requires=[
        "torch>=2.6",
        "open_clip_torch>=3.0",
        "timm>=1.0.15",
        "tokenizers>=0.21",
        "transformers>=4.57",
        "batchgenerators>=0.25.1",
        "lightning-fabric>=2.4",
        "peft>=0.18",
        "SimpleITK>=2.3",
        "nibabel>=5.2",
        "pydicom>=3.0",
        "python-gdcm>=3.0.24",
        "numpy>=1.26",
        "scipy>=1.12",
        "pandas>=2.2",
        "openpyxl>=3.1",
        "Jinja2>=3.1",
        "matplotlib>=3.8",
        "contourpy>=1.2",
        "scikit-learn>=1.4",
        "pillow>=10.3",
        "isal>=1.6",
        "safetensors>=0.4.3",
        "huggingface_hub>=0.25",
        "tensorboard>=2.16",
        "filelock>=3.12",
        "defusedxml>=0.7.1",
        "psutil>=5.9",
        "regex>=2024.4",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": TEST,
        "lint": LINT,
        "onnx": ONNX,
        "dicom": DICOM,
        "translate": TRANSLATE,
        "ray": RAY,
        "slurm": SLURM,
        "browser": BROWSER,
        "wandb": ["wandb>=0.17"],
        "mlflow": ["mlflow-skinny>=2.14"],
        "all": [*TEST, *LINT, *RAY, *BROWSER],
    },
    entry_points={"console_scripts": [f"htunet_{name.rstrip('_')}=htunet.cli.{name}:main" for name in COMMANDS]},
)

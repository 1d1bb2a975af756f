"""Metadata, dependencies, extras and console scripts: their only home."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
COMMANDS = ("convert", "plan_and_preprocess", "train", "predict", "evaluate", "demo")

setup(
    name="htunet",
    version="0.1.0",
    description="Self-configuring ultrasound segmentation and classification with frozen vision-language backbones",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["htunet", "htunet.*"]), "dataset_conversion", "results_template"],
    package_data={"results_template": ["*.csv", "*.md"], "dataset_conversion": ["*.md"], "htunet": ["py.typed"]},
    install_requires=[
        "torch>=2.6",
        "open_clip_torch>=3.0",
        "batchgenerators>=0.25.1",
        "lightning-fabric>=2.4",
        "SimpleITK>=2.3",
        "nibabel>=5.2",
        "numpy>=1.26",
        "scipy>=1.12",
        "pandas>=2.2",
        "matplotlib>=3.8",
        "scikit-learn>=1.4",
        "pillow>=10.3",
        "safetensors>=0.4.3",
        "huggingface_hub>=0.25",
        "tensorboard>=2.16",
        "filelock>=3.12",
        "psutil>=5.9",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": ["pytest>=8", "pytest-cov>=5", "medpy>=0.5.2", "build>=1.2"],
        "lint": ["ruff>=0.8", "mypy>=1.13"],
    },
    entry_points={"console_scripts": [f"htunet_{name}=htunet.cli.{name}:main" for name in COMMANDS]},
)

"""htunet: self-configuring ultrasound segmentation and classification with frozen vision-language backbones."""

__version__ = "0.1.0"

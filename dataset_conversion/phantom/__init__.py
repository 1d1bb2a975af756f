"""The simulator of breast ultrasound: ``scan`` writes images in BUSI's layout, ``captions`` makes their texts."""

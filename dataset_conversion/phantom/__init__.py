"""The simulator of breast ultrasound: ``scan`` makes images and writes them in BUSI's layout, ``captions`` their texts."""

"""Weights of our own: networks pre-trained on simulated ultrasound alone, without an image of any patient."""

"""Simulated ultrasound images with known truth: physics, organs, lesions, machines and screens, all at random.

``simulate.simulate`` makes one image from (settings, seed, index); ``settings.SimulationSettings`` holds all ranges.
"""

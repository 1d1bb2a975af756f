"""One reader a format; ``stacks`` opens any of them, frame by frame."""

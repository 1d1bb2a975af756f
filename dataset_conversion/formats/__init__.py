"""One reader a format of annotations: COCO."""

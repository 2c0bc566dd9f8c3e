"""Stage 2, curate: raw files to the images, boxes, labels and rejects tables."""

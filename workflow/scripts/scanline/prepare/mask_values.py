"""What a pixel of the mask cache says."""

NONE, LESION, UNKNOWN = 0, 1, 255

"""Scanline: raw medical images to results that can be defended. One subpackage a stage, and core."""

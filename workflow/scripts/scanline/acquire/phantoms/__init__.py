"""Phantoms: procedural images, and the modules that write them in a study's published layout."""

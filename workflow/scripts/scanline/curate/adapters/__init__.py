"""One module a raw layout, found by its name; see scanline.curate.entries for the interface."""

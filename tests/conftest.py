"""Settings of all tests."""

from hypothesis import settings

# A shared machine can be slow at any moment: an example's time is no failure. Equal examples in every run.
settings.register_profile("scanline", deadline=None, derandomize=True)
settings.load_profile("scanline")

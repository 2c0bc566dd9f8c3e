"""A detector's network as its rule is told of it."""

from typing import Any

from pydantic import Field

from scanline.train.options import ModelOptions


class TunedModel(ModelOptions):
    """A network with options of its own family's trainer, which that family's module reads."""

    ultralytics: dict[str, Any] = Field(description="Those of ultralytics: see `ultralytics_options`.")


DetectorModel = TunedModel | ModelOptions

"""The ways in which values of DICOM images and of volumes become grey; light, as options name them."""

from typing import Literal

GreyMethod = Literal["window", "header_window", "percentiles"]

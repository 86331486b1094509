"""The image processor of TIPSv2 on Pillow: transformers has it on torchvision alone."""

from typing import ClassVar

from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling


class Tipsv2ImageProcessorPil(PilBackend):
    """Resizes pictures to squares and scales their pixels to [0, 1], as `Tipsv2ImageProcessor` does.

    The settings are those of transformers' class, and so is the file that they are saved to.
    """

    resample = PILImageResampling.BILINEAR
    size: ClassVar[dict[str, int]] = {"height": 448, "width": 448}
    do_resize = True
    do_rescale = True
    do_normalize = False
    do_convert_rgb = True

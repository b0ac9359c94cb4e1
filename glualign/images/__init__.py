"""Images in and out with their depth, channels, orientation, EXIF and colour profile intact; never torch."""

from glualign.images.display import display_notes, reduce_image, to_rgb8
from glualign.images.image import Image
from glualign.images.read import DEFAULT_MAX_PIXELS, READABLE, MaskFrom, as_image, read_image
from glualign.images.write import WRITABLE, write_image

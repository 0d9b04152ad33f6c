"""Networks."""

from unetq.nets.unet import UNet, build, calibrate, codes, load_float_weights, set_slope

__all__ = ["UNet", "build", "calibrate", "codes", "load_float_weights", "set_slope"]

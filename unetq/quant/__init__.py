"""Quantizers, and layers that use them."""

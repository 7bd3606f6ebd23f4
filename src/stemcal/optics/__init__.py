"""Wavelength, coordinate conventions, ellipses, descan, crystal rings."""

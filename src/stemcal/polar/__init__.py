"""Azimuthal mean and variance per scan position, straight from the raw counts through one sparse operator."""

"""Gold: elliptical distortion, reciprocal pixel size and effective camera length from a powder pattern."""

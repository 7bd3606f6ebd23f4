"""The geometry step: how the scan lies in the camera, and what the probe looks like, from interference in the data."""

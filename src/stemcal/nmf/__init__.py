"""Non-negative factorisation of the radial profiles of all scans that share a calibration."""

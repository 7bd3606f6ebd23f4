"""The plotting style that every figure and the session page share."""

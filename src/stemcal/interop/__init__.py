"""The only room that knows py4DSTEM and HyperSpy; both are imported lazily."""

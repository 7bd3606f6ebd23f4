"""One thin module per verb; ``main`` dispatches and turns errors into exit codes."""

"""Readers and writers of every file format: a format that is read can also be synthesised."""

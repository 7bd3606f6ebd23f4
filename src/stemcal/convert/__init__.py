"""Turn a raw acquisition into one HDF5 file, with every cheap sum in the same pass."""

"""From a search space to solved cells: values in, rows out. Imports `model.sizing`."""

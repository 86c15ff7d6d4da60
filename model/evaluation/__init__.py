"""What a trained network scores. Imports `model.network` and `model.precisions`."""

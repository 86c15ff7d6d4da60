"""How a network is trained: steps, optimisers, schedules, compilation. Imports `model.network`."""

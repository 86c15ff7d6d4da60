"""How a network is trained: settings, steps, optimisers, schedules, compilation.

Imports `model.field_types`, `model.precisions`, `model.network`, `model.sizing` and what they may
import; `settings` and `schedules` work without torch.
"""

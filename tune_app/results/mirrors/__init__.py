"""Mirrors of a sweep in other tools: Optuna, TensorBoard, Weights & Biases.

May import what `results` may import.
"""

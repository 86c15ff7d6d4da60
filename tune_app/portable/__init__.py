"""Exported models: their files, loaded and used. Imports `model` and `data.tokenizers` alone.

It runs where only torch, safetensors and tokenizers are installed.
"""

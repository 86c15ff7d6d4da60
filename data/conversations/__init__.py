"""Conversations for supervised fine-tuning: read, written as ChatML, packed into sequences.

Imports of `data` the batches and how files are read. Knows no model.
"""

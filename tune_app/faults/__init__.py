"""Classifies failures and decides what to do about them, purely.

Imports the journal's records and the stores' errors.
"""

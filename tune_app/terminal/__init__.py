"""The output of a sweep in the terminal.

May import `results` and everything that `results` may import.
"""

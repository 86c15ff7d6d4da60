"""What scores say: pure functions of numbers, each with the reason for its answer.

Imports nothing of the project.
"""

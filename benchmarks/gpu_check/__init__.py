"""`make gpu-check`: all that needs a GPU, in one report. A module for each of its sections.

A section is a function that measures and yields the lines of its part of the report. Each names the
device, so that what needs no CUDA is tested on a CPU.
"""

"""From a parameter budget to the sizes of a model, and what those sizes cost. Works without torch;
imports `model.spec` and `model.parts`.
"""

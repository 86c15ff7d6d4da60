"""What each part of a model costs: its parameters, FLOPs and memory; and the size it leaves free.

The parts are embedding, attention, feed-forward and norm. A variant is a class here, an entry in
its part's table, and a module of the same name in `model.network`. Search, budget, table, FLOPs and
memory use only what the class says, so a new variant needs nothing else.

Works without torch; imports nothing of the rest of the project.
"""

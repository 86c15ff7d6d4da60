"""One model trained by several processes of one host: a GPU each, or a share of the CPU.

Parameters, gradients and the optimiser's state are cut into as many parts as there are processes
(torch's FSDP2, `fully_shard`), and so is each batch.
"""

"""How large a vocabulary at 10M parameters? All cells are 224 wide, with an expansion of 2.66.

The embedding takes from 4 % (2,000 tokens) to 72 % (32,000); the depth makes room, from 16 layers
to 5. 64,000 do not fit into the budget and are listed as infeasible. A larger vocabulary makes
fewer tokens of the same text: all cells train on equal text, and bits per byte compares them. What
still differs: the depth, the number of steps, and the text in a window of `context` tokens. The
standard library fills about 36,000 tokens.
"""

AXES = {"vocab_size": [2_000, 4_000, 8_000, 16_000, 32_000, 64_000]}

FIXED = {
    "target_parameters": 10_000_000,
    "d_model": 224,
    "embedding_ratio": None,
    "tokens": 5_000_000,
}

BASELINE = {"vocab_size": 16_000}

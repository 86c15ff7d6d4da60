"""Code or prose, and does the mix change towards the end? Six mixtures at 10M parameters.

The shares are of source code (the standard library) and of Wikipedia (wikitext-2). Cells are ranked
on the dev text of both together; each corpus has its own score beside it
(`domain_bits_per_byte`). The baseline draws both by their size. Other corpora, two as well:
`--corpus "mix:one.jsonl:text + two.txt"`.
"""

AXES = {
    ("mixture", "mixture_end"): [
        ("90/10", None),
        ("70/30", None),
        ("50/50", None),
        ("30/70", None),
        ("70/30", "30/70"),
        ("30/70", "70/30"),
    ],
}

FIXED = {
    "corpus": "mix:stdlib + wikitext-2",
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "tokens": 5_000_000,
}

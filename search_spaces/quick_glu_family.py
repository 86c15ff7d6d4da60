"""`glu_family` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers."""

from search_spaces import quick

AXES = {
    "feed_forward": ["swiglu", "geglu", "reglu", "relu_squared", "relu", "gelu"],
}

FIXED = {
    **quick.FIXED,
    "d_model": 80,
    "n_layers": 8,
    "glu_expansion": None,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

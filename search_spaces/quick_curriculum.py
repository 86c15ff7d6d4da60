"""`curriculum` in minutes on two CPU cores: 0.95M parameters, a context of 128."""

from search_spaces import quick

AXES = {
    "curriculum": ["none", "10%:32", "30%:32", "10%:32,20%:64"],
}

FIXED = quick.FIXED

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

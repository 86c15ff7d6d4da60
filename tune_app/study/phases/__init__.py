"""The kinds of phases that a study may have, a file each: what they train, and why."""

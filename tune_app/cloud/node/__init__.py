"""What runs on the nodes: the environment, and Ray in it."""

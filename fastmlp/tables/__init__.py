"""Tables of the user's own: reading them, training on them, writing predictions."""

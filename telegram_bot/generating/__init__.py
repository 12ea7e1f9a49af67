"""A generation from its request to the delivered picture; flows use it and it imports none."""

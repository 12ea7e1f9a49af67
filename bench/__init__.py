"""Measurements and the promises they check, one module per command; nothing imports them."""

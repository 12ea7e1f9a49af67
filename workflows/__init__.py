"""What a picture looks like: modes, styles, parameters and graphs, as data and pure code."""

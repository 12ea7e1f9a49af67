"""What an image looks like: modes, styles and graphs, as data and pure code; anyone may import."""

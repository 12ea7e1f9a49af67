"""What an image looks like: modes, styles and graphs, as data, pure code, and a watch over the folders; anyone may import."""

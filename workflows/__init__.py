"""What an image looks like, as data, pure code and a watch over its folders; anyone may import."""

"""Jobs on this pod, from admission to the encoded images."""

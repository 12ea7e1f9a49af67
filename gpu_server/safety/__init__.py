"""The gate that every picture and photo passes."""

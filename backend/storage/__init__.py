"""What the backend keeps: rows in the database, images in the object store."""

"""Model files: manifest, state on disk, download. A program; the service imports the manifest."""

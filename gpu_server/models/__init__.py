"""Model files: which there are, which are installed, and how they get here."""

from gpu_server.models.files import State, installed
from gpu_server.models.manifest import Manifest, ManifestError, ModelFile, load_manifest

__all__ = ["Manifest", "ManifestError", "ModelFile", "State", "installed", "load_manifest"]

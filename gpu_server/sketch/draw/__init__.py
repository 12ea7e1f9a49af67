"""Draw a picture from prompt, style and seed with ordinary code; `jobs` imports it.

The same brief gives the same bytes; another seed gives a visibly different picture.
"""

from gpu_server.sketch.draw.brief import STYLES, Brief, Control, style_of_model
from gpu_server.sketch.draw.drawing import Drawing

__all__ = ["STYLES", "Brief", "Control", "Drawing", "style_of_model"]

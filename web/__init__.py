"""The edge that every HTTP service shares: errors, request ids, limits, logs, settings, tasks.

Every package may import it; it imports only `workflows`.
"""

VERSION = "0.1.0"

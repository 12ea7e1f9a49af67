"""What every HTTP service of Easel does alike at its edge: errors, request ids, logs, limits."""

VERSION = "0.1.0"

"""What every HTTP service of Easel does alike at its edge: errors, request ids, logs, limits."""

"""Jobs from admission to the finished images; only the service and its wiring import it."""

"""easel-ssh, the operator's command line; only `infra/ssh_manager.py` starts it."""

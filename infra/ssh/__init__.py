"""easel-ssh: command line, configuration and console. `infra/ssh_manager.py` starts it."""

"""The commands of easel-ssh, loaded by name from `infra.ssh.arguments.HANDLERS`."""

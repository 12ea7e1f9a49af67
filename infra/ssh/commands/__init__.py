"""One module for each kind of easel-ssh command."""

"""What the commands of `./startup.sh` do that is more than starting and stopping."""

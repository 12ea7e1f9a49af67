"""Start, watch and stop the services of this host, for `startup.sh`; nobody else imports it."""

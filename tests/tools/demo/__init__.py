"""The demo: a whole run on the development cluster, as a new user would do it."""

"""The web page: server-rendered, without a build step and without requests to other hosts."""

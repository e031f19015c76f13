"""The decisions of the client: no sockets, files, clocks, threads, luck or logging; all of that comes in as arguments."""

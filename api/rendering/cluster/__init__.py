"""Slots on the nodes of a Ray cluster.

Three kinds of processes take part. The server (`slots`, `driver_process`) never imports Ray. It starts a driver
(`driver`, `seat`), which is a child process of its own because Ray ends the process that holds its driver when the
cluster's head is gone for long. On the nodes, actors (`actor`) run the same engine processes as a server without a
cluster.
"""

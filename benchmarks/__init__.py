"""Benchmarks: what a chunk costs here and in other clients, shown by one command.

`python -m benchmarks` runs everything; `python -m benchmarks --help` lists the choices. The
package is not part of the distribution and nothing in it is imported by `websopy_sync`.
"""

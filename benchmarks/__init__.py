"""Speed, memory and cost of blox, as ratios: `make bench`, or `python -m benchmarks NAME`.

Every figure is measured in the same run as the floor, or stands beside the reference, that it is
judged by. Floors come from what cannot be beaten (AWS's published quotas, this disk, this machine's
HTTP server); absolute times depend on the machine and are never part of a test.
"""

"""`python -m pipeline` is `hiprobe`."""

from pipeline.cli import main

main()

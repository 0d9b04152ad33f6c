"""`python -m unetq.cli`."""

from unetq.cli import main

main()

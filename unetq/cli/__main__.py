"""`python -m unetq.cli`."""

from unetq.cli import main

if __name__ == "__main__":
    main()

"""`python -m jaxsnare`: the command line."""

from jaxsnare.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

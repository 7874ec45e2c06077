"""``python -m viberkit`` is the command line."""

from viberkit.cli import main

if __name__ == "__main__":
    main()

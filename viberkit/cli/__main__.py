"""``python -m viberkit.cli`` runs the command line."""

from viberkit.cli.main import main

if __name__ == "__main__":
    main()

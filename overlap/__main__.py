"""``python -m overlap`` is the command line."""

from overlap.cli.main import main

if __name__ == "__main__":
    main()

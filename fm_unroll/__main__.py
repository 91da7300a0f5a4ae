"""``python -m fm_unroll``."""

from fm_unroll.cli import main

if __name__ == "__main__":
    main()

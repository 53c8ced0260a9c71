"""`python -m hnlmrec` is the command line."""

from hnlmrec.cli import main

if __name__ == "__main__":
    main()

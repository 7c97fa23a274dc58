"""`python -m benchmarks`: the whole comparison."""

from benchmarks.run import main

if __name__ == "__main__":
    main()

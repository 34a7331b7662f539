"""`python -m recognition`, which is the program `recognition`."""

from recognition.cli.main import cli

if __name__ == "__main__":
    cli(prog_name="recognition")

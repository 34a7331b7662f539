"""`python -m recognition`, which is the command `recognition`."""

from recognition.cli.main import cli

if __name__ == "__main__":
    cli(prog_name="recognition")

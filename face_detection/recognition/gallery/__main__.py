"""`python -m recognition.gallery`, which is `recognition gallery`."""

from recognition.cli.gallery import gallery as cli

if __name__ == "__main__":
    cli(prog_name="python -m recognition.gallery")

"""`python -m recognition.keys NAME SCOPE[,SCOPE]`, which is `recognition keys new`."""

from recognition.cli.keys import new

if __name__ == "__main__":
    new(prog_name="python -m recognition.keys")

"""`python -m recognition.keys NAME SCOPE[,SCOPE]`: makes a key and shows it once."""

from serving.keys import main

if __name__ == "__main__":
    main()

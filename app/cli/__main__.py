"""`python -m app.cli`: how `gradsift up` starts its parts, wherever the console script lies."""

from app.cli import main

main()

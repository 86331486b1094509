"""Write a report of a run that opens from disk: tables, figures, and the articles that were won and lost.

    python scripts/report.py outputs/demo

Writes OUTPUT_DIR/report: index.html with small pictures beside it, the tables as Markdown and LaTeX, and the figures
as PNG and PDF. The folder can be sent to others or put on any static server.
"""

from hf_newsmatch.commands.report import main

if __name__ == "__main__":
    main()

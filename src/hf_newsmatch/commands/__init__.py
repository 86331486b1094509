"""The command line: one module a command, each of which parses its flags before it imports what it needs."""

# in the order in which they are used
COMMANDS = (
    "train",
    "interpolate",
    "predict",
    "evaluate",
    "report",
    "fuse",
    "translate",
    "convert",
    "push",
    "reproduce",
    "study",
    "app",
)
# other names of commands
ALIASES = {"push_to_hub": "push"}

"""The commands of `python -m asrlib`: each module exports its click command as `command`."""

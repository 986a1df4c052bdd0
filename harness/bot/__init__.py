"""The bot: what a pull request is told, and what a maintainer's word makes it measure."""

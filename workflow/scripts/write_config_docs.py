"""Write config/schema.json and config/README.md anew from the typed configuration."""

from pathlib import Path

from scanline.config_docs import write_page, write_schema
from scanline.core.command_line import run


def main() -> None:
    """Write both files."""
    Path("config/schema.json").write_text(write_schema(), "utf-8")
    Path("config/README.md").write_text(write_page(), "utf-8")


if __name__ == "__main__":
    run(main)

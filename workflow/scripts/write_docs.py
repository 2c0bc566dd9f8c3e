"""Write config/schema.json, config/README.md and docs/evaluate.md anew from the code."""

from pathlib import Path

from scanline.config_docs import write_page, write_schema
from scanline.core.command_line import run
from scanline.reference import write_reference


def main() -> None:
    """Write the three files."""
    Path("config/schema.json").write_text(write_schema(), "utf-8")
    Path("config/README.md").write_text(write_page(), "utf-8")
    Path("docs/evaluate.md").write_text(write_reference(), "utf-8")


if __name__ == "__main__":
    run(main)

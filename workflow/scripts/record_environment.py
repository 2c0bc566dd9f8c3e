"""Record what is installed in the environment that rules share, by running in it."""

from pydantic import Field

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.options import Options, read_options
from scanline.core.versions import describe_environment


class EnvironmentOptions(Options):
    """Which environment it is."""

    environment: str = Field(description="Name of the conda environment file, envs/<environment>.yaml.")
    rules: tuple[str, ...] = Field(description="The rules that run in it.")


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "record")
    options = read_options(EnvironmentOptions, args.options)
    write_json(args.record, {**options.model_dump(mode="json"), **describe_environment()})


if __name__ == "__main__":
    run(main)

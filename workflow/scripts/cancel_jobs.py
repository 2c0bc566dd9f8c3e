"""Cancel the SLURM jobs that a killed Snakemake left behind in this folder, and unlock it; --list only lists them."""

import argparse
import subprocess
import sys
from pathlib import Path

from scanline.core.cluster_jobs import PREFIX, cancel_jobs, jobs_of_folder, refuse_running_snakemake
from scanline.core.command_line import run
from scanline.core.log import logger


def main() -> None:
    """Read the command line, list, cancel, unlock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", default=PREFIX, help="what the jobs' names begin with (slurm-jobname-prefix)")
    parser.add_argument("--list", action="store_true", help="list the jobs and change nothing")
    args = parser.parse_args()
    folder = Path.cwd()
    jobs = jobs_of_folder(folder, args.prefix)
    for job in jobs:
        print(job.number, job.state, job.comment)
    if args.list:
        return
    refuse_running_snakemake(folder)
    cancel_jobs(jobs, folder, args.prefix)
    unlocked = subprocess.run([sys.executable, "-m", "snakemake", "--unlock"], capture_output=True, text=True)
    if unlocked.returncode:
        sys.exit(unlocked.stderr.strip())
    logger.info("%d jobs cancelled, folder unlocked: run the same snakemake command again", len(jobs))


if __name__ == "__main__":
    run(main)

"""Settings of all tests."""

from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# A shared machine can be slow at any moment: an example's time is no failure. Equal examples in every run.
settings.register_profile("scanline", deadline=None, derandomize=True)
settings.load_profile("scanline")


class WorkflowInOneProcess(LoadScopeScheduling):
    """In several processes, one takes all tests of the workflow, whose project is made once; others a module each."""

    def _split_scope(self, nodeid):
        return "tests/workflow" if nodeid.startswith("tests/workflow/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return WorkflowInOneProcess(config, log)

"""A code digest changes with the code that runs, and with nothing else."""

import ast
import json
import os
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scanline.core import code_digest as module
from scanline.core.code_digest import code_digest
from scanline.core.errors import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
ENVIRONMENT = "dependencies: [python=3.11, pip, {pip: [numpy==2.0.0, pandas==3.0.0]}]\n"
BASE = {
    "rule.py": "from pack.used import work\nwork()\n",
    "other.py": "import pack.apart\n",
    "pack/__init__.py": "",
    "pack/used.py": "from pack.deep.far import far\ndef work():\n    return far()\n",
    "pack/apart.py": "def apart():\n    return 1\n",
    "pack/deep/__init__.py": "",
    "pack/deep/far.py": "def far():\n    return 1\n",
    "env.yaml": ENVIRONMENT,
}


@pytest.fixture(autouse=True)
def _fresh():
    forget()


def forget():
    """Empty the caches that last as long as a process, which in use sees one state of the files."""
    for function in (module._code_digest, module._read_module, module._pinned_packages):
        function.cache_clear()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.fixture
def digest(tmp_path):
    """The digest of `rule` in a small project, with some of its files replaced."""

    def of(changes: dict[str, str] | None = None, rule: str = "rule", modules: tuple[str, ...] = ()) -> str:
        shutil.rmtree(tmp_path / "scripts", ignore_errors=True)
        write(tmp_path / "scripts", {**BASE, **(changes or {})})
        forget()
        return code_digest(tmp_path / "scripts", rule, tmp_path / "scripts/env.yaml", modules)

    return of


def follows(digest, changes: dict[str, str], target: str = "pack/apart.py", **options) -> bool:
    """Whether the digest under `changes` depends on the module `target`."""
    edited = {target: "def apart():\n    return 2\n"}
    return digest(changes, **options) != digest({**changes, **edited}, **options)


def test_is_sixteen_hexadecimal_digits(digest):
    value = digest()
    assert len(value) == 16
    assert set(value) <= set(string.hexdigits.lower())
    assert digest() == value


@pytest.mark.parametrize(
    "file", ["rule.py", "pack/used.py", "pack/deep/far.py", "pack/__init__.py", "pack/deep/__init__.py"]
)
def test_changes_with_every_module_that_the_script_reaches(digest, file):
    assert digest({file: BASE[file] + "ADDED = 1\n"}) != digest()


def test_stays_when_a_module_out_of_reach_changes(digest):
    assert not follows(digest, {})
    assert follows(digest, {}, rule="other")


@pytest.mark.parametrize(
    "statement",
    [
        "import pack.apart",
        "import pack.apart as other",
        "from pack import apart",
        "from pack import apart as other",
        "from pack.apart import apart",
        "from pack.apart import *",
        "from . import apart",
        "from .apart import apart",
        "import os, pack.apart",
        "def late():\n    import pack.apart",
        "def late():\n    from .apart import apart",
        "class Late:\n    from . import apart",
        "try:\n    import pack.apart\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    import os\nelse:\n    import pack.apart",
        "if not TYPE_CHECKING:\n    import pack.apart",
    ],
)
def test_follows_every_form_of_import(digest, statement):
    assert follows(digest, {"pack/used.py": statement + "\n"})


@pytest.mark.parametrize("statement", ["from .. import apart", "from ..apart import apart", "from ... import os"])
def test_follows_relative_imports_upwards_and_never_out(digest, statement):
    assert follows(digest, {"pack/deep/far.py": statement + "\n"}) == ("..." not in statement)


def test_relative_imports_of_a_package_start_in_it(digest):
    changes = {"pack/deep/__init__.py": "from . import near\n", "pack/deep/near.py": "from .. import apart\n"}
    assert follows(digest, changes)
    assert follows(digest, changes, target="pack/deep/near.py")


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_leaves_out_what_only_a_type_checker_reads(digest, test):
    changes = {"pack/used.py": f"import typing\nif {test}:\n    import pack.apart\n"}
    assert not follows(digest, changes)
    more = {"pack/used.py": f"import typing\nif {test}:\n    import pack.apart\n    import pack.deep\n"}
    assert digest(changes) == digest(more)


def test_a_package_is_found_before_a_module_of_its_name(digest):
    changes = {"pack/used.py": "import pack.twice\n", "pack/twice.py": "", "pack/twice/__init__.py": ""}
    assert not follows(digest, changes, target="pack/twice.py")
    assert follows(digest, changes, target="pack/twice/__init__.py")


def test_follows_packages_without_init_file(digest):
    changes = {"pack/used.py": "from pack.space.inner import apart\n", "pack/space/inner.py": ""}
    assert follows(digest, changes, target="pack/space/inner.py")


def test_cyclic_imports_end(digest):
    cycle = {"pack/used.py": "import pack.apart\n", "pack/apart.py": "import pack.used\nimport pack.apart\n"}
    assert digest(cycle) != digest()


def test_a_registry_pick_is_digested_alone(digest):
    pick = {"modules": ("pack.deep.one",)}
    files = {"pack/deep/one.py": "from pack.apart import apart\n", "pack/deep/two.py": "TWO = 2\n"}
    assert digest(files, **pick) != digest(files)
    assert follows(digest, files, **pick)
    assert follows(digest, files, target="pack/deep/one.py", **pick)
    assert not follows(digest, files, target="pack/deep/two.py", **pick)


def test_the_order_of_picks_does_not_count(digest):
    assert digest(modules=("pack.apart", "pack.deep")) == digest(modules=("pack.deep", "pack.apart"))


def test_presentation_modules_are_left_out_and_what_only_they_import(digest):
    shown = "import pack.apart\nPRESENTATION_ONLY = True\n"
    changes = {"pack/used.py": "import pack.show\n", "pack/show.py": shown}
    assert not follows(digest, changes)
    assert digest(changes) == digest({**changes, "pack/show.py": shown + "MORE = 1\n"})
    assert follows(digest, {**changes, "pack/used.py": "import pack.show\nimport pack.apart\n"})
    assert follows(digest, {**changes, "pack/show.py": shown.replace("True", "False")})


@pytest.mark.parametrize("assignment", ["DIGESTED_FILES = ({})", "DIGESTED_FILES: tuple[str, ...] = ({})"])
def test_declared_files_count_by_their_bytes(digest, assignment):
    changes = {
        "pack/used.py": assignment.format("'page.css', '../top.j2',") + "\n",
        "pack/page.css": "a",
        "top.j2": "b",
        "pack/apart.txt": "c",
    }
    before = digest(changes)
    assert digest({**changes, "pack/page.css": "a /* */"}) != before
    assert digest({**changes, "top.j2": "B"}) != before
    assert digest({**changes, "pack/apart.txt": "C"}) == before


def test_pins_count_and_comments_and_order_do_not(digest):
    packages = "  - pip:\n    - pandas==3.0.0  # tables\n    - numpy==2.0.0\n"
    same = f"# pins\nname: x\ndependencies:\n  - pip\n  - python=3.11\n{packages}"
    assert digest({"env.yaml": same}) == digest()
    for old, new in (("2.0.0", "2.0.1"), ("python=3.11", "python=3.12"), (", pandas==3.0.0", "")):
        assert digest({"env.yaml": ENVIRONMENT.replace(old, new)}) != digest()


def test_the_place_of_the_checkout_does_not_count(tmp_path):
    values = set()
    for name in ("here", "some where/else"):
        write(tmp_path / name, BASE)
        values.add(code_digest(tmp_path / name, "rule", tmp_path / name / "env.yaml"))
    assert len(values) == 1


SOURCE = """
CONSTANT = {constant}


class Thing:
    field: int = 1

    def method(self):
        return f"{{self.field:>{{CONSTANT}}}} {{'quoted'!r}}"


async def work(value):
    if value:
        return {returned}
    pass
"""
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters='\\"'), max_size=30)
numbers = st.integers(min_value=0, max_value=10**6)


def content(folder: Path, text: str) -> str:
    forget()
    (folder / "rule.py").write_text(text, "utf-8")
    (folder / "env.yaml").write_text(ENVIRONMENT, "utf-8")
    return code_digest(folder, "rule", folder / "env.yaml")


@given(remark=words, place=st.integers(0, 30), kind=st.sampled_from(["#", "blank", "trailing"]))
def test_comments_and_blank_lines_never_change_it(tmp_path_factory, remark, place, kind):
    folder = tmp_path_factory.mktemp("scripts")
    lines = SOURCE.format(constant=1, returned=2).splitlines()
    before = content(folder, "\n".join(lines))
    remark = " ".join(remark.splitlines())
    place %= len(lines)
    if kind == "trailing":
        lines[place] += f"  # {remark}"
    else:
        lines.insert(place, f"# {remark}" if kind == "#" else "")
    assert content(folder, "\n".join(lines)) == before


@given(remark=words, holder=st.sampled_from(["", "class Thing:", "def method(self):", "async def work(value):"]))
def test_docstrings_never_change_it(tmp_path_factory, remark, holder):
    folder = tmp_path_factory.mktemp("scripts")
    text = SOURCE.format(constant=1, returned=2)
    before = content(folder, text)
    lines = text.splitlines()
    place = next(index for index, line in enumerate(lines) if line.strip() == holder)
    indent = " " * (len(lines[place]) - len(lines[place].lstrip()) + 4) if holder else ""
    lines.insert(place + 1, f'{indent}"""{remark}."""')
    assert content(folder, "\n".join(lines)) == before


@given(first=st.tuples(numbers, numbers), second=st.tuples(numbers, numbers))
def test_any_other_constant_or_body_changes_it(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("scripts")
    digests = [content(folder, SOURCE.format(constant=a, returned=b)) for a, b in (first, second)]
    assert (digests[0] == digests[1]) == (first == second)


def test_a_body_of_a_docstring_alone_is_a_pass(tmp_path):
    assert content(tmp_path, 'def f():\n    """Say."""\n') == content(tmp_path, "def f():\n    pass\n")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('f"{x}"', '"{x}"'),
        ('f"{x}"', 'f"{x!r}"'),
        ('f"{x}"', 'f"{x:d}"'),
        ("f\"{x['a']}\"", "f\"{x['b']}\""),
        ('f"a{x}"', 'f"{x}a"'),
        ("g(f'{x}')", "g(f'{y}')"),
    ],
)
def test_f_strings_count(tmp_path, one, other):
    assert content(tmp_path, one + "\n") != content(tmp_path, f"y = {other}\n")
    assert content(tmp_path, f"y = {one}\n") != content(tmp_path, f"y = {other}\n")


def test_quotes_and_parentheses_do_not_count(tmp_path):
    assert content(tmp_path, "x = ('a' + 'b')\n") == content(tmp_path, 'x = "a" + "b"\n')


@pytest.mark.parametrize(
    ("changes", "rule", "modules", "named"),
    [
        ({}, "absent", (), "absent.py: found no such file; expected the script of rule absent"),
        ({"pack/used.py": "def f(:\n"}, "rule", (), "used.py: found invalid syntax"),
        ({"rule.py": "x = '\0'\n"}, "rule", (), "expected Python code"),
        ({}, "rule", ("pack.deep.afar",), "module pack.deep.afar: found no such module; expected one of far."),
        ({"pack/used.py": "DIGESTED_FILES = ('no.css',)"}, "rule", (), "found 'no.css': No such file"),
        ({"pack/used.py": "DIGESTED_FILES = ('no.css')"}, "rule", (), "expected a tuple of file names"),
        ({"pack/used.py": "DIGESTED_FILES = names()"}, "rule", (), "found names(); expected a tuple"),
        ({"env.yaml": "a: [\n"}, "rule", (), "expected a conda environment file"),
        ({"env.yaml": "channels: []\n"}, "rule", (), "env.yaml: dependencies: found no list"),
    ],
)
def test_errors_are_one_line(digest, changes, rule, modules, named):
    with pytest.raises(InputError) as caught:
        digest(changes, rule=rule, modules=modules)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_environment_is_one_line(tmp_path):
    write(tmp_path, BASE)
    with pytest.raises(InputError, match=r"gone\.yaml: found .*No such file"):
        code_digest(tmp_path, "rule", tmp_path / "gone.yaml")


def test_each_module_of_the_workflow_is_parsed_once(monkeypatch):
    scripts = sorted(SCRIPTS.glob("*.py"))
    environment = SCRIPTS.parents[1] / "envs/train.yaml"
    parsed: list[bytes] = []
    parse = ast.parse
    monkeypatch.setattr(module.ast, "parse", lambda source: parsed.append(source) or parse(source))
    values = {code_digest(SCRIPTS, script.stem, environment) for script in scripts}
    assert len(values) == len(scripts)
    assert len(scripts) < len(parsed) <= len(list(SCRIPTS.rglob("*.py")))


def test_logging_and_command_line_are_left_out():
    main = module._read_module(SCRIPTS / "train_classifier.py", "")
    reached = module._reached_modules(SCRIPTS, main.imports)
    assert "scanline.train.options" in reached
    assert not {"scanline.core.log", "scanline.core.command_line"} & set(reached)


def test_needs_nothing_heavy():
    code = "import sys, scanline.core.code_digest; print(*{'numpy', 'pandas', 'pydantic', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPTS, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_other_python_versions_agree(tmp_path, version):
    other = shutil.which(f"python{version}")
    if other is None or subprocess.run([other, "-c", "pass"], capture_output=True).returncode != 0:
        pytest.skip(f"no Python {version} on this machine")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/yaml").symlink_to(Path(yaml.__file__).parent)
    write(tmp_path, {**BASE, "rule.py": SOURCE.format(constant=1, returned="f\"{value['a']} {value!r:>{8}}\"")})
    code = (
        "import pathlib, sys; from scanline.core.code_digest import code_digest; folder = pathlib.Path(sys.argv[1]);"
        "print(code_digest(folder, 'rule', folder / 'env.yaml'))"
    )
    found = subprocess.run(
        [other, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{SCRIPTS}:{tmp_path / 'site'}", "PATH": os.environ["PATH"]},
    )
    assert found.stdout.strip() == code_digest(tmp_path, "rule", tmp_path / "env.yaml")


class TestParsedModules:
    """What earlier processes found makes the digest faster, and never another one."""

    @pytest.fixture
    def project(self, tmp_path):
        write(tmp_path / "scripts", BASE)
        return tmp_path

    def digest(self, project, *, keeping=True):
        forget()
        parsed = module.ParsedModules(project / "kept.json") if keeping else None
        return code_digest(project / "scripts", "rule", project / "scripts/env.yaml", (), parsed)

    def test_the_digest_is_the_same_with_and_without(self, project):
        alone = self.digest(project, keeping=False)
        assert self.digest(project) == alone
        assert self.digest(project) == alone

    def test_nothing_is_parsed_twice(self, project, monkeypatch):
        first = self.digest(project)
        monkeypatch.setattr(module.ast, "parse", None)
        assert self.digest(project) == first

    def test_an_edit_is_seen(self, project):
        first = self.digest(project)
        (project / "scripts/pack/deep/far.py").write_text("def far():\n    return 2\n", "utf-8")
        changed = self.digest(project)
        assert changed != first
        assert changed == self.digest(project, keeping=False)

    def test_a_declared_file_is_always_read(self, project):
        (project / "scripts/pack/used.py").write_text('DIGESTED_FILES = ("page.css",)\n', "utf-8")
        (project / "scripts/pack/page.css").write_text("a", "utf-8")
        first = self.digest(project)
        (project / "scripts/pack/page.css").write_text("b", "utf-8")
        assert self.digest(project) != first

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', "{"])
    def test_a_damaged_file_counts_as_empty(self, project, text):
        first = self.digest(project)
        (project / "kept.json").write_text(text, "utf-8")
        assert self.digest(project) == first

    def test_another_version_of_this_code_counts_as_empty(self, project):
        first = self.digest(project)
        kept = json.loads((project / "kept.json").read_text("utf-8"))
        for facts in kept["modules"].values():
            facts["content"] = "wrong"
        (project / "kept.json").write_text(json.dumps(kept), "utf-8")
        assert self.digest(project) != first, "the file is read"
        (project / "kept.json").write_text(json.dumps({**kept, "version": "other"}), "utf-8")
        assert self.digest(project) == first

    def test_a_place_that_cannot_be_written_is_no_error(self, project):
        (project / "kept.json").mkdir()
        assert self.digest(project) == self.digest(project, keeping=False)

"""Who imports whom: the contracts in pyproject.toml, and that pages.common is common; and how tests are shared out."""

import os
from collections.abc import Iterator

import grimp
import pytest
from importlinter.cli import lint_imports

from engine.settings import ROOT


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_import_contract_holds(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def users(graph: grimp.ImportGraph, module: str) -> Iterator[str]:
    """The page packages, and "main", that import `module`, directly or through other modules of pages.common."""
    seen, waiting = {module}, [module]
    while waiting:
        for importer in graph.find_modules_that_directly_import(waiting.pop()):
            if not importer.startswith("pages.common."):
                yield importer.split(".")[1]
            elif importer not in seen:
                seen.add(importer)
                waiting.append(importer)


GRAPH = grimp.build_graph("pages", cache_dir=None)


@pytest.mark.parametrize("module", sorted(GRAPH.find_children("pages.common")))
def test_what_is_common_is_used_by_two_pages(module: str) -> None:
    using = set(users(GRAPH, module))
    assert len(using - {"main"}) >= (1 if "main" in using else 2), f"{module} is used by {using or 'nobody'} alone"


def test_nothing_in_pages_hides_a_package_of_that_name() -> None:
    # Streamlit puts the folder of main.py on the path, so `import network` would be pages/network.
    own = {entry.stem for entry in (ROOT / "pages").iterdir()}
    external = grimp.build_graph("engine", "pages", cache_dir=None, include_external_packages=True)
    top = {module.split(".")[0] for module in external.modules}
    assert not own & top


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process has all tests")
def test_one_process_has_all_tests_of_a_file(request: pytest.FixtureRequest) -> None:
    """Otherwise each would prepare what they share, such as the browser: tests/conftest.py and xdist see to it."""
    assert request.node.nodeid.endswith("@tests/test_contracts.py")

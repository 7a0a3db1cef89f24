"""Who imports whom: the contracts in pyproject.toml."""

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


def test_nothing_in_pages_hides_a_package_of_that_name() -> None:
    # Streamlit puts the folder of main.py on the path, so `import network` would be pages/network.
    own = {entry.stem for entry in (ROOT / "pages").iterdir()}
    external = grimp.build_graph("engine", "pages", cache_dir=None, include_external_packages=True)
    top = {module.split(".")[0] for module in external.modules}
    assert not own & top

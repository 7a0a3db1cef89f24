"""The app without a browser, opened as a link would open it."""

from functools import cache
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[1]
MAIN = str(ROOT / "pages" / "main.py")


def open_page(page: str, **link: str) -> AppTest:
    """The app at `page` (such as "home/page.py"), opened by a link with these values."""
    app = new_app()
    for key, value in link.items():
        app.query_params[key] = value
    app._registered_pages = _registered_pages()
    return app.switch_page(page).run()


def new_app() -> AppTest:
    """The app, not yet opened."""
    return AppTest.from_file(MAIN, default_timeout=120)


@cache
def _registered_pages() -> dict[str, Any]:
    """The app's navigation, which an `AppTest` otherwise learns by opening Home first, as no cold link does."""
    return new_app().run()._registered_pages


def assert_no_error(app: AppTest) -> None:
    """The page shows neither a traceback nor an error message."""
    assert not app.exception
    assert [error.value for error in app.error] == []


def assert_pictures_have_words(app: AppTest) -> None:
    """Every picture has a text that a screen reader can say in its place."""
    assert all(image.alt for pictures in app.get("image") for image in pictures.proto.imgs)


def can_be_touched(app: AppTest) -> bool:
    """Whether a click into some picture chooses a cell of it."""
    return any(component.proto.component_name == "convscope_cells" for component in app.get("bidi_component"))

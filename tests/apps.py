"""The app without a browser, opened as a link would open it."""

from streamlit.testing.v1 import AppTest


def open_page(page: str, **link: str) -> AppTest:
    """The app at `page` (such as "pages/home.py"), opened by a link with these values."""
    app = AppTest.from_file("../app.py", default_timeout=120)
    for key, value in link.items():
        app.query_params[key] = value
    app.run()
    return app.switch_page(page).run()


def assert_no_error(app: AppTest) -> None:
    """The page shows neither a traceback nor an error message."""
    assert not app.exception
    assert [error.value for error in app.error] == []

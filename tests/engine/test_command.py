"""What all commands share."""

import pytest

from engine.command import exit_status, parser, progress
from engine.errors import ConvscopeError


@pytest.mark.parametrize(("given", "status"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_that_gives_nothing_is_done(given: int | None, status: int) -> None:
    assert exit_status()(lambda arguments: given)([]) == status


def test_an_error_for_people_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    @exit_status()
    def main(arguments: object) -> None:
        raise ConvscopeError("One sentence.")

    assert main([]) == 1
    assert capsys.readouterr().out == "One sentence.\n"


def test_ctrl_c_is_a_sentence_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    @exit_status(stopped="Stopped here.")
    def main(arguments: object) -> None:
        raise KeyboardInterrupt

    assert main([]) == 130
    assert capsys.readouterr().out == "Stopped here.\n"


def test_the_parser_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser("engine.zoo", "All networks.").parse_args(["--help"])
    assert capsys.readouterr().out.startswith("usage: python -m engine.zoo")


def test_a_progress_bar_vanishes(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("B") as show:
        show(500, 1000)
        show(1000, 1000)
    assert "\n" not in capsys.readouterr().err

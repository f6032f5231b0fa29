"""The generated pages of the documents are up to date."""

from tests.support.reference_pages import COMMANDS, ROUTES, commands_page, routes_page


def test_page_of_commands_is_up_to_date() -> None:
    assert COMMANDS.read_text() == commands_page(), "run: make settings"


def test_page_of_routes_is_up_to_date() -> None:
    assert ROUTES.read_text() == routes_page(), "run: make settings"

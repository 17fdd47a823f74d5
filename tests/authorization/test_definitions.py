import pytest

from orgmanager.authorization.definitions import merge, own_definitions, split
from orgmanager.authorization.schema import render
from orgmanager.errors import Rejected

FOREIGN = '''use expiration

// A } in a comment, and a definition orgmanager/not_really { in one.
caveat other/weekday(day string, more list<string>) {
\tday == "tue}" || day == 'definition orgmanager/x {' || day == """
}"""
}

/**
 * Documents { are ours.
 */
definition other/document {
\trelation viewer:   other/user with other/weekday | orgmanager/organization#member
\tpermission view=viewer // {
} // the end }

definition other/user {}
'''
OLD = """definition orgmanager/user {}

// one that is no more
definition orgmanager/retired {
\trelation platform: orgmanager/user
}
"""


def test_split_parts_joined_are_the_text_again():
    text = FOREIGN + "\n" + render() + "\n// the end"
    parts = split(text)
    assert "".join(part for _, part in parts) == text
    assert [name for name, _ in parts] == [
        "",
        "other/weekday",
        "other/document",
        "other/user",
        "orgmanager/organization",
        "orgmanager/platform",
        "orgmanager/user",
        "orgmanager/workspace",
        "",
    ]


@pytest.mark.parametrize("text", ["", "\n"])
def test_merge_into_nothing_is_our_definitions(text):
    assert merge(text, render()).lstrip() == render()


@pytest.mark.parametrize(
    "text",
    [FOREIGN, OLD + "\n" + FOREIGN, FOREIGN + "\n" + OLD, FOREIGN + "\n" + render()],
)
def test_merge_keeps_other_definitions_byte_for_byte(text):
    merged = merge(text, render())
    assert FOREIGN in merged and merged.endswith(render())
    assert "retired" not in merged
    assert merge(merged, render()) == merged


def test_merge_between_definitions_leaves_both_neighbours():
    first, last = "definition other/a {} // a\n", "\n// b\ndefinition other/b {}\n"
    merged = merge(first + "\n" + OLD + last, render())
    assert merged == first + last + "\n" + render()


@pytest.mark.parametrize("name", ["orgmanager", "orgmanagers/user", "my/orgmanager/x"])
def test_merge_keeps_a_definition_that_is_only_called_like_ours(name):
    text = f"definition {name} {{}}\n"
    assert merge(text, render()).startswith(text)


def test_merge_with_carriage_returns_keeps_them():
    text = FOREIGN.replace("\n", "\r\n")
    assert merge(text, render()).startswith(text)


@pytest.mark.parametrize(
    "text", ["definition other/a {", "}", "definition other/a {}}"]
)
def test_merge_with_braces_that_do_not_match_is_rejected(text):
    with pytest.raises(Rejected, match="Nothing was written"):
        merge(text, render())


def test_own_definitions_do_not_depend_on_order_or_space_between():
    mixed = "\n\n" + FOREIGN + "\n\n\n".join(reversed(render().split("\n\n")))
    assert own_definitions(mixed) == own_definitions(render())
    assert own_definitions(OLD) != own_definitions(render())

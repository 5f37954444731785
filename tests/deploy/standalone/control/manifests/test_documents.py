from __future__ import annotations

from pathlib import Path

import pytest

from deploy.standalone.control.manifests.documents import MAX_SIZE, load
from tests.deploy.standalone.control.helpers import complaints, documents, read

ROOT = Path(__file__).resolve().parents[5]
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {}\n"


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/samples").glob("*/*.yaml")))
def test_reads_the_samples(path: Path) -> None:
    loaded = load(path.read_bytes(), str(path), path.parent)
    assert loaded.problems == ()
    assert loaded.documents


def test_every_document_is_read_with_its_place_and_text() -> None:
    text = documents(
        "# first",
        NAMESPACE.format("a"),
        "",
        "  " + "\n  ".join(NAMESPACE.format("b").splitlines()),
    )
    loaded = read(text)
    assert [str(d.value.key) for d in loaded.documents] == ["namespace/a", "namespace/b"]
    assert loaded.documents[0].line == 3
    for document in loaded.documents:
        again = load(document.text, "again", None, document.line)
        assert again.documents[0].value == document.value
        assert again.documents[0].line == document.line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
            (2, "kind", "unknown kind 'Secret': known are Namespace"),
        ),
        ("kind: Pod\n", (1, "apiVersion", "missing")),
        ("apiVersion: v1\nkind: 3\n", (2, "kind", "expected a text, not the number 3: put it")),
        (
            "apiVersion: v1\nkind: Deployment\n",
            (1, "apiVersion", "Deployment is of apps/v1, not 'v1'"),
        ),
        ("[1, 2]\n", (1, "", "expected a mapping, not a list")),
        (
            NAMESPACE.format("a") + "metdata: {}\n",
            (5, "metdata", "unknown field: did you mean metadata?"),
        ),
        (
            NAMESPACE.format("a") + "kind: Pod\n",
            (5, "kind", "this field is there twice"),
        ),
        (
            NAMESPACE.format("A_b"),
            (4, "metadata.name", "'A_b' is no valid name: use lowercase letters"),
        ),
        (
            NAMESPACE.format("a") + "  labels: {on: true}\n",
            (5, "metadata.labels.on", "expected a text, not the boolean true: put it in"),
        ),
        (
            documents(NAMESPACE.format("a"), NAMESPACE.format("a")),
            (9, "metadata.name", "namespace/a is in this file already"),
        ),
    ],
)
def test_names_line_field_and_reason(text: str, expected: tuple[int, str, str]) -> None:
    ((line, field, message),) = complaints(text)
    assert (line, field) == expected[:2]
    assert message.startswith(expected[2])


def test_good_documents_beside_a_bad_one_are_read() -> None:
    loaded = read(documents(NAMESPACE.format("a"), "kind: Nothing", NAMESPACE.format("b")))
    assert [d.value.key.name for d in loaded.documents] == ["a", "b"]
    assert len(loaded.rejected) == len(loaded.problems) == 1


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"a: [1,\nb: 2\n", 2, "not valid YAML: "),
        (b"a: 1\n\tb: 2\n", 2, "not valid YAML: "),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8 text"),
        (b"a: &x [*x]\n", 1, "missing"),
        (b"[" * 5000, 1, "not valid YAML: "),
        (b" " * (MAX_SIZE + 1), 1, f"{MAX_SIZE + 1} bytes are too much"),
    ],
)
def test_what_is_no_yaml_is_a_problem_with_its_line(
    content: bytes, line: int, reason: str
) -> None:
    loaded = load(content, "x.yaml", None)
    assert loaded.documents == ()
    assert reason in loaded.problems[0].message
    if loaded.unreadable:
        assert loaded.problems[0].line >= line


def test_merge_keys_work() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  <<: {name: a}\n  labels: {x: y}\n"
    (document,) = read(text).documents
    assert document.value.key.name == "a"


def test_a_bad_merge_is_a_problem_of_its_document() -> None:
    text = documents(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  <<: 3\n", NAMESPACE.format("b")
    )
    loaded = read(text)
    assert [d.value.key.name for d in loaded.documents] == ["b"]
    assert "merge" in loaded.problems[0].message

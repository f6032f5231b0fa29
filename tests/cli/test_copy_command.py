"""`registry copy`: effects, output, exit codes, and the environment variables of each side."""

import json
from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.support.oci import Image, contents_of, make_image

ROOT = "docker/registry/v2"


def store(folder: Path, name: str, tag: str, image: Image) -> None:
    """Lay down an image as a registry would have."""
    repository = folder / ROOT / "repositories" / name

    def link(path: str, digest: str) -> None:
        (repository / path).mkdir(parents=True, exist_ok=True)
        (repository / path / "link").write_text(digest)

    for content in contents_of(image):
        algorithm, _, encoded = content.digest.partition(":")
        data = folder / ROOT / "blobs" / algorithm / encoded[:2] / encoded
        data.mkdir(parents=True, exist_ok=True)
        (data / "data").write_bytes(content.data)
        kind = "_manifests/revisions" if content.digest == image.digest else "_layers"
        link(f"{kind}/{algorithm}/{encoded}", content.digest)
    link(f"_manifests/tags/{tag}/current", image.digest)
    link(f"_manifests/tags/{tag}/index/{image.digest.replace(':', '/')}", image.digest)


def config(folder: Path, name: str) -> str:
    """Write the configuration of a registry on a folder of its own."""
    path = folder / f"{name}.yml"
    path.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder / name}}}}}\n"
        f"catalog: {{backend: LOCAL, local: {{path: {folder / name}-names}}}}\n"
    )
    (folder / f"{name}-names").touch()
    return str(path)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files that another registry sees."""
    files = [path for path in folder.rglob("*") if path.is_file() and not {".tmp", "_summaries"} & {*path.parts}]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command for a copy from a folder that holds two images to one that is not there yet."""
    store(tmp_path / "old", "team/app", "v1", make_image(1))
    store(tmp_path / "old", "team/other", "v1", make_image(2))
    return ["copy", "--from", config(tmp_path, "old"), "--to", config(tmp_path, "new")]


def test_copy_makes_the_same_tree_and_updates_the_catalog(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert tree(tmp_path / "new") == tree(tmp_path / "old")
    # Repositories are reported in the order of completion, several at a time.
    assert sorted((tmp_path / "new-names").read_text().splitlines()) == ["team/app", "team/other"]
    out, err = capsys.readouterr()
    assert out.startswith("copied: 2 repositories compared, 6 blobs sent (")
    assert out.endswith("2 manifests, 2 tags, 0 deleted, 0 only at the target, 0 problems\n")
    assert err == ""


def test_second_copy_reports_no_work_in_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(words)
    capsys.readouterr()
    assert main([*words, "--json", "--delete"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.pop("seconds") >= 0
    assert {key: value for key, value in report.items() if value} == {"repositories": 2}


def test_damaged_blob_is_reported_and_fails_the_copy(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = make_image(1).blobs[1]
    encoded = layer.digest.partition(":")[2]
    (tmp_path / "old" / ROOT / "blobs/sha256" / encoded[:2] / encoded / "data").write_bytes(b"rot")
    assert main([*words, "--json"]) == ExitCode.FAILURE
    out, err = capsys.readouterr()
    assert f"problem: team/app: {layer.digest}: data at the source does not match the digest\n" in err
    listed = json.loads(out)["listed_problems"]
    assert [problem["trouble"] for problem in listed] == ["damaged", "incomplete", "incomplete"]
    assert (tmp_path / "new-names").read_text() == "team/other\n"


def test_image_that_a_cache_fetched_in_part_is_reported(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = make_image(1).blobs[1].digest
    (tmp_path / "old" / ROOT / "repositories/team/app/_layers" / layer.replace(":", "/") / "link").unlink()
    with (tmp_path / "old.yml").open("a") as settings:
        settings.write("proxy: {upstreams: [{prefix: team, urls: ['http://127.0.0.1:1']}]}\n")
    assert main(words) == ExitCode.FAILURE
    assert f"refers to {layer}, which the cache has not fetched\n" in capsys.readouterr().err
    assert (tmp_path / "new" / ROOT / "repositories/team/other/_manifests/tags/v1/current/link").exists()
    assert not (tmp_path / "new" / ROOT / "repositories/team/app/_manifests").exists()


def test_dry_run_and_selection(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--dry-run", "--repository", "team/a*"]) == 0
    assert capsys.readouterr().out.startswith("would copy: 1 repository compared, 3 blobs sent")
    assert not tree(tmp_path / "new")


def test_plain_variables_apply_to_neither_side(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("SEARCH_BACKEND", "mysql")
    assert main(words) == 0
    assert capsys.readouterr().err.startswith(
        "warning: REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY, SEARCH_BACKEND: applied to neither configuration; "
    )
    assert tree(tmp_path / "new") == tree(tmp_path / "old")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("setting", [("REGISTRY_TO_", []), ("REGISTRY_", ["--env", "to"])], ids=["named", "env"])
def test_variables_of_one_side_apply_to_it_alone(
    setting: tuple[str, list[str]],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prefix, options = setting
    monkeypatch.setenv(f"{prefix}STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path / "elsewhere"))
    assert main([*words, *options]) == 0
    assert capsys.readouterr().err == ""
    assert tree(tmp_path / "elsewhere") == tree(tmp_path / "old")
    assert not (tmp_path / "new").exists()


def test_copy_is_in_the_audit_log_of_the_target(words: list[str], tmp_path: Path) -> None:
    for name in ("old", "new"):
        with (tmp_path / f"{name}.yml").open("a") as file:
            file.write(f"audit: {{file: {tmp_path / name}-audit.log}}\n")
    assert main([*words, "--dry-run"]) == 0
    assert not (tmp_path / "new-audit.log").exists()
    assert main(words) == 0
    assert f"copy --from {words[2]}" in (tmp_path / "new-audit.log").read_text()
    assert not (tmp_path / "old-audit.log").exists()


def test_one_storage_and_an_empty_source_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words[:4], words[2]]) == ExitCode.FAILURE
    assert "source and target are the same storage" in capsys.readouterr().err
    (tmp_path / "new" / ROOT / "blobs").mkdir(parents=True)
    assert main(["copy", "--from", words[4], "--to", words[2], "--delete"]) == ExitCode.FAILURE
    assert "the source has no repositories" in capsys.readouterr().err


def test_configuration_errors_name_their_side(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(words[4]).write_text("version: 0.1\nstorage: nothing\n")
    assert main(words) == ExitCode.FAILURE
    assert capsys.readouterr().err.startswith(f"configuration error: --to: {words[4]}:2: ")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--blobs-at-once", "0"), ("--bytes-per-second", "-1"), ("--watch", "0"), ("--watch", "nan"), ("--watch", "inf")],
)
def test_invalid_limits_are_refused(
    words: list[str], option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*words, option, value])
    assert f"argument {option}: must be " in capsys.readouterr().err

"""`make release`: build everything that a version consists of, from the commit of the working tree, into dist/."""

import argparse
import json
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scripts.release import archives, conformance, images, packages, provenance, sbom
from scripts.release.errors import ReleaseError
from scripts.release.programs import ROOT, run
from scripts.release.project import NAME, Commit, export, released_commit
from scripts.release.server import registry

DISTRIBUTION_FOLDER: Final = ROOT / "dist"
DEFAULT_BASE: Final = "docker.io/library/python:3.11-slim"


def main() -> None:
    """Release the commit of the working tree."""
    options = _parser().parse_args()
    try:
        commit = released_commit()
        with tempfile.TemporaryDirectory(prefix="release-") as scratch:
            _Release(commit, Path(scratch), options).make()
    except ReleaseError as error:
        sys.exit(f"release: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--base-image", default=DEFAULT_BASE, help="the base of the image, in a registry")
    parser.add_argument("--platforms", default="amd64 arm64", help="the processors that get an image")
    parser.add_argument("--pip-index-url", default="", help="a mirror of PyPI")
    parser.add_argument("--to", default="", help="where image and chart are pushed too: HOST[:PORT][/NAMESPACE]")
    return parser


class _Release:
    """One run: each step writes files, which come into dist/ together."""

    def __init__(self, commit: Commit, scratch: Path, options: argparse.Namespace) -> None:
        self._commit = commit
        self._scratch = scratch
        self._options = options
        self._source = scratch / "source"
        self._target = scratch / "dist"
        self._prefix = f"{NAME}-{commit.version}"
        self._products: list[Path] = []

    def make(self) -> None:
        self._target.mkdir()
        self._source.mkdir()
        export(self._source)
        self._step("packages", self._build_packages)
        self._step("chart", self._package_chart)
        self._step("bill of materials", self._write_bill)
        self._step("documentation", self._build_documents)
        self._step("image", self._build_image)
        self._step("OCI conformance", self._test_conformance)
        self._write_sums()
        # A release that fails leaves the files of the last one.
        if DISTRIBUTION_FOLDER.exists():
            shutil.rmtree(DISTRIBUTION_FOLDER)
        shutil.copytree(self._target, DISTRIBUTION_FOLDER)

    @staticmethod
    def _step(name: str, step: Callable[[], None]) -> None:
        started = time.monotonic()
        step()
        print(f"release: {name}: {time.monotonic() - started:.0f} s", flush=True)

    def _build_packages(self) -> None:
        self._products += packages.build_packages(self._source, self._target)

    def _package_chart(self) -> None:
        made = self._scratch / "chart"
        made.mkdir()
        self._products.append(packages.package_chart(self._source, self._commit, made, self._target))

    def _write_bill(self) -> None:
        exported = sbom.exported_packages(self._source)
        document = sbom.bill_of_materials(exported, self._commit, sbom.installed_licences)
        sbom.check(document)
        self._products.append(self._write(f"{self._prefix}.sbom.cdx.json", document))

    def _build_documents(self) -> None:
        site = self._scratch / "site"
        # mkdocs writes this time in place of today's.
        run("scripts/build-docs", site, environment={"SOURCE_DATE_EPOCH": str(self._commit.seconds)})
        self._products.append(self._target / f"{self._prefix}.docs.tar.gz")
        archives.pack_folder(site, self._products[-1], seconds=self._commit.seconds)

    def _build_image(self) -> None:
        wanted = self._options.platforms.split()
        base = images.find_base(self._options.base_image, wanted)
        print(f"release: base image {base.reference}")
        with registry(self._scratch / "registry") as host:
            mirror = self._options.pip_index_url or None
            digests = images.build(self._source, self._commit, base, host, self._scratch, mirror=mirror)
            self._report_platforms(wanted, list(base.images))
            self._write_provenance(base, digests)
            attached = {
                "application/vnd.cyclonedx+json": self._target / f"{self._prefix}.sbom.cdx.json",
                "application/vnd.in-toto+json": self._target / f"{self._prefix}.provenance.json",
            }
            images.attach(host, digests, attached, self._commit)
            tag = f"{NAME}:{self._commit.version}"
            print(run("oras", "discover", "--plain-http", f"{host}/{tag}").replace(f"{host}/", ""))
            archive = self._target / f"{self._prefix}.image.tar"
            images.archive(host, self._commit, self._scratch, archive)
            if self._options.to:
                images.publish(f"{host}/{tag}", f"{self._options.to}/{tag}")
        if self._options.to:
            chart = self._target / f"registry-{self._commit.version}.tgz"
            images.publish_chart(chart, self._options.to)

    @staticmethod
    def _report_platforms(wanted: list[str], built: list[str]) -> None:
        print(f"release: built for {', '.join(f'linux/{processor}' for processor in built)}")
        for processor in set(wanted).difference(built):
            print(
                f"release: NOT built for linux/{processor}: the base image has none; name one that has in BASE_IMAGE=, "
                f"or run `make image` on such a machine"
            )

    def _write_provenance(self, base: images.Base, digests: dict[str, str]) -> None:
        products = {path.name: provenance.sha256_of(path) for path in self._products}
        for platform, digest in digests.items():
            name = f"{NAME}:{self._commit.version} {platform}".rstrip()
            products[name] = digest.removeprefix("sha256:")
        document = provenance.statement(
            self._commit,
            products=products,
            source=self._source,
            bases={base.reference: base.digest},
            parameters={"baseImage": self._options.base_image, "platforms": list(base.images)},
            tools=_tool_versions(),
        )
        self._products.append(self._write(f"{self._prefix}.provenance.json", document))

    def _test_conformance(self) -> None:
        project = tomllib.loads((self._source / "pyproject.toml").read_text())["project"]
        results, bundle = self._scratch / "results", self._scratch / "bundle"
        with registry(self._scratch / "conformance", conformance.SETTINGS) as host:
            conformance.run_suite(host, results, self._scratch)
        conformance.make_bundle(results, bundle, project)
        target = self._target / f"{self._prefix}.oci-conformance.tar.gz"
        archives.pack_folder(bundle, target, seconds=self._commit.seconds)

    def _write_sums(self) -> None:
        paths = sorted(self._target.iterdir())
        lines = [f"{provenance.sha256_of(path)}  {path.name}\n" for path in paths]
        (self._target / "SHA256SUMS").write_text("".join(lines))
        for path, line in zip(paths, lines, strict=True):
            print(f"{line[:12]}… {path.stat().st_size:>12,} {path.name}")

    def _write(self, name: str, document: dict[str, Any]) -> Path:
        path = self._target / name
        path.write_text(json.dumps(document, indent=2) + "\n")
        return path


def _tool_versions() -> dict[str, str]:
    return {
        "uv": run("uv", "--version").split()[1],
        "buildah": run("buildah", "--version").split()[2],
        "helm": run("helm", "version", "--template", "{{.Version}}").strip(),
    }


if __name__ == "__main__":
    main()

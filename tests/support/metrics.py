"""Metrics of a scrape, parsed by Prometheus' own parser."""

from collections.abc import Mapping
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """Samples of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = [sample for family in self.families.values() for sample in family.samples]
        self.names = {sample.name for sample in self._samples}
        self.family_names = {
            family.name + ("_total" if family.type == "counter" else "") for family in self.families.values()
        }

    @classmethod
    def of(cls, url: str) -> "Scrape":
        """Fetch and parse the metrics at `url`."""
        with urlopen(url, timeout=30) as response:  # noqa: S310 - the test's own server
            return cls(response.read().decode())

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that include these labels; 0 if there are none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= dict(sample.labels).items()
        )

    def values(self, name: str) -> Mapping[tuple[tuple[str, str], ...], float]:
        """Return all samples of a name, by their labels."""
        return {
            tuple(sorted(dict(sample.labels).items())): sample.value for sample in self._samples if sample.name == name
        }

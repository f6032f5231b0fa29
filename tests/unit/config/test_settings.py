"""Settings are plain data, and secrets among them are not shown."""

import dataclasses
import inspect

import pytest

import config.settings as module
from adapters.blob_storage.scs import ScsOptions
from config.settings import Secret, Settings

DATACLASSES = [each for _, each in inspect.getmembers(module, dataclasses.is_dataclass)]


@pytest.mark.parametrize("cls", DATACLASSES, ids=lambda cls: cls.__name__)
def test_settings_are_frozen_slotted_and_have_defaults(cls: type) -> None:
    instance = cls()
    assert not hasattr(instance, "__dict__")
    first = dataclasses.fields(cls)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(instance, first, None)


def test_settings_repr_shows_no_secret() -> None:
    scs = ScsOptions(secret_key=Secret("hunter2"))
    http = module.HttpSettings(secret=Secret("hunter2"))
    settings = Settings(storage=module.StorageSettings(scs=scs), http=http)
    assert "hunter2" not in repr(settings)

"""Typed blocks of option files: pydantic models whose errors are one line that names the key.

A dataset or model class declares its keys in a class `Options(OptionBlock)` inside it. `docs/basicsr.md` shows how.
"""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import RefStarError, nearest


class Expected(str):
    """Describe the values of a type, in metadata of `Annotated`: 'a whole number from 1'."""


def as_whole(value: Any) -> Any:
    """Turn 5e3, as BasicSR's option files write it, into 5000."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, Field(ge=1), Expected('a whole number from 1')]
Natural = Annotated[int, Field(ge=0), Expected('a whole number from 0')]
Iterations = Annotated[int, BeforeValidator(as_whole), Field(ge=1), Expected('a whole number from 1')]
IterationsFrom0 = Annotated[int, BeforeValidator(as_whole), Field(ge=0), Expected('a whole number from 0')]
Number = Annotated[float, Expected('a number')]
Size = Annotated[float, Field(ge=0), Expected('a number from 0')]
Share = Annotated[float, Field(ge=0, le=1), Expected('a number from 0 to 1')]
Numbers = Annotated[list[float], Expected('a list of numbers')]
Names = Annotated[list[str], Expected('a list of names')]
Block = Annotated[dict[str, Any], Expected('a block')]
FilePath = Annotated[str | Path, Expected('a path')]


class OptionBlock(BaseModel):
    """A block of an option file: typed keys with descriptions; unknown keys are refused.

    Values are not converted: `'5'` is no number, and `true` is no 1.
    """

    model_config = ConfigDict(extra='forbid', strict=True, allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str = '') -> 'OptionBlock':
        """Check a block.

        Args:
            values: keys and values as in the option file.
            where: path of the block for messages, e.g. 'train' or 'datasets:val'; '' for the top level.

        Raises:
            RefStarError: names the first unknown key with the nearest known one, a missing key, or a wrong value.
        """
        if not isinstance(values, Mapping):
            raise RefStarError(f'{where}: expected a block of `key: value`, got {values!r}')
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
        unknown_first = min(found, key=lambda entry: entry['type'] != 'extra_forbidden')
        raise _error(cls, values, unknown_first['loc'], where)


def _error(schema: type[OptionBlock], values: Mapping[str, Any], place: tuple, where: str) -> RefStarError:
    """Word an error of pydantic's from its place, a path of keys."""
    key, inner = place[0], place[1:]
    value, name = values.get(key), f'{where}:{key}'.lstrip(':')
    if key not in schema.model_fields:
        return RefStarError(f'unknown key {key!r} ({name}){nearest(key, schema.model_fields)}')
    field = schema.model_fields[key]
    if value is None and field.is_required():
        return RefStarError(f'{name} is missing in the option file')
    for kind in (field.annotation, *get_args(field.annotation)):
        if inner and isinstance(value, Mapping) and isinstance(kind, type) and issubclass(kind, OptionBlock):
            return _error(kind, value, inner, name)
    return RefStarError(f'{name}: expected {expected_of(field.annotation, field.metadata)}, got {value!r}')


def expected_of(annotation: Any, metadata: Any = ()) -> str:
    """Describe the values that an annotation allows, e.g. 'a whole number from 1' or 'bf16 or fp16'."""
    for entry in metadata:
        if isinstance(entry, Expected):
            return str(entry)
    if get_origin(annotation) is Annotated:
        return expected_of(get_args(annotation)[0], annotation.__metadata__)
    if get_origin(annotation) in (Union, UnionType):
        return ' or '.join(expected_of(part) for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return ' or '.join(map(str, get_args(annotation)))
    plain = {bool: 'true or false', str: 'text', int: 'a whole number', float: 'a number', Any: ''}
    if annotation in plain:
        return plain[annotation]
    return 'a list' if list in (annotation, get_origin(annotation)) else 'a block'


class AnyKey(OptionBlock):
    """Base of a schema that takes further keys, of any name."""

    model_config = ConfigDict(extra='allow')


class IoBackend(AnyKey):
    """Where BasicSR's data sets read their files."""

    type: Literal['disk', 'lmdb', 'memcached'] = Field(description='how files are kept')


class DatasetOptions(OptionBlock):
    """Keys of every dataset: what BasicSR's data loaders and this project's trainer read."""

    name: str | None = Field(None, description='name of the dataset, in the log and in results')
    type: str | None = Field(None, description='class of the dataset')
    phase: str | None = Field(None, description='set by BasicSR')
    scale: Count | None = Field(
        None, description='how many times smaller the LQ is than the GT; set by BasicSR from `scale` of the file'
    )
    io_backend: IoBackend | None = Field(None, description='`type: disk` (default) or `lmdb`')
    num_worker_per_gpu: Natural | None = Field(None, description='loader processes of a training process')
    batch_size_per_gpu: Count | None = Field(None, description='samples per step of a training process')
    use_shuffle: Any = Field(None, description='not read: BasicSR always shuffles')
    dataset_enlarge_ratio: Annotated[float, Field(gt=0), Expected('a number above 0')] = Field(
        1, description='passes over the data per epoch'
    )
    prefetch_mode: Literal['cpu', 'cuda'] | None = Field(None, description='cuda needs pin_memory')
    pin_memory: bool | None = Field(
        None, description='page-locked memory, for faster copies to a GPU (default: of training sets, on a GPU)'
    )
    persistent_workers: bool | None = Field(None, description='keep the loader processes between epochs')
    num_prefetch_queue: Count | None = Field(None, description='batches that `prefetch_mode: cpu` keeps ready')

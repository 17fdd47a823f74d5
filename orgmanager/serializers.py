"""The base of every serializer: camelCase on the wire, and nothing unknown in."""

from collections.abc import Mapping
from functools import cache

from rest_framework import serializers
from rest_framework.settings import api_settings


class CamelSerializer(serializers.Serializer):
    """
    Shows each field ``some_name`` as ``someName``, in bodies and in the schema.

    A field that nobody declared, or that cannot be set, is refused: a misspelt
    option that is silently ignored costs more than a clear "no". So is a PATCH that
    names no field. DRF looks for ``validate_someName``: use ``validate`` instead.
    """

    @classmethod
    def show(cls, row):
        """Return ``row`` as it goes over the wire, by fields that are made once."""
        return _shared(cls).to_representation(row)

    def get_fields(self):
        fields = {}
        for name, field in super().get_fields().items():
            wire = camel(name)
            if wire != name and field.source is None:
                field.source = name
            fields[wire] = field
        return fields

    def to_internal_value(self, data):
        if isinstance(data, Mapping):
            self._refuse_unknown(data)
            if self.partial and self.parent is None and not data:
                detail = f"Name a field to change: {', '.join(self._settable())}."
                whole = api_settings.NON_FIELD_ERRORS_KEY
                raise serializers.ValidationError({whole: detail}, code="empty")
        return super().to_internal_value(data)

    def _refuse_unknown(self, data):
        known = self._settable()
        refusals = {}
        for name in data:
            if name not in known:
                what = "can be read only" if name in self.fields else "does not exist"
                code = "read_only" if name in self.fields else "unknown"
                detail = f"This field {what}. Fields to set: {', '.join(known)}."
                refusals[name] = serializers.ErrorDetail(detail, code=code)
        if refusals:
            raise serializers.ValidationError(refusals)

    def _settable(self):
        return [name for name, field in self.fields.items() if not field.read_only]


@cache
def _shared(serializer_class):
    return serializer_class()


def camel(name):
    """Return ``some_name`` as ``someName``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)

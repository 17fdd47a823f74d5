"""The base of every serializer: camelCase on the wire, and nothing unknown in."""

from collections.abc import Mapping

from rest_framework import serializers


class CamelSerializer(serializers.Serializer):
    """
    Shows each field ``some_name`` as ``someName``, in bodies and in the schema.

    A field that nobody declared is refused: a misspelt option that is silently
    ignored costs more than a clear "no".
    """

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
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError(
                    {
                        name: serializers.ErrorDetail(
                            f"There is no such field. Known: {known}.", code="unknown"
                        )
                        for name in unknown
                    }
                )
        return super().to_internal_value(data)


def camel(name):
    """Return ``some_name`` as ``someName``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)

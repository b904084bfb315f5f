"""The filter `set`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta

from tailrace import Batch, Filter, OptionError, Template, TemplateError, parse_field, value_text


class Set(Filter, kw_only=True):
    """Set fields to constants, or to texts made of other fields.

        - type: set
          fields:
            cluster: prod-eu-1
            labels: {team: platform, tier: 1}
            who: '{user.username} from {sourceIPs}'

    A string with `{...}` is a template; in it, text stands as it is, a missing field is nothing, and any
    other value is compact JSON. `{{` and `}}` are the signs themselves. All templates see the event as it
    came in.
    """

    fields: Annotated[dict[str, Any], Meta(description="The fields to set, each with its value, any JSON but null.")]

    def __post_init__(self) -> None:
        if not self.fields:
            raise OptionError("fields", "name at least one field, like `field: value`")
        self._templates: dict[str, Template] = {}
        for field, value in self.fields.items():
            try:
                parse_field(field)
                if isinstance(value, str) and ("{" in value or "}" in value):
                    self._templates[field] = Template(value, quote=value_text)
            except TemplateError as error:
                raise OptionError("fields", f"the value of {field}, {error}") from None
            except ValueError as error:
                raise OptionError("fields", str(error)) from None
            if value is None:
                raise OptionError("fields", f"{field} cannot be set to null; to take it away use drop_keys")

    def reads(self) -> Iterable[str]:
        """Name the fields that the templates name."""
        return [field for template in self._templates.values() for field in template.fields]

    def writes(self) -> Iterable[str]:
        """Name the fields that are set."""
        return self.fields.keys()

    def apply(self, batch: Batch) -> None:
        """Set the columns."""
        made = {field: template.render_all(batch) for field, template in self._templates.items()}
        for field, value in self.fields.items():
            batch[field] = made.get(field) or [value] * len(batch)

"""How values of the project's own types are written as options and in config files.

To import this module is to tell the parser.
"""

from jsonargparse.typing import register_type

from fm_unroll.physics import Center

# as a number: 24 ACS lines, or the fraction 0.08
register_type(Center, serializer=lambda center: center.number, deserializer=Center.parse)

# JSON as TOML, with inline tables.
def value:
  if type == "object" then "{ " + (to_entries | map("\(.key | tojson) = \(.value | value)") | join(", ")) + " }"
  elif type == "array" then "[" + (map(value) | join(", ")) + "]"
  else tojson
  end;
to_entries | map("\(.key | tojson) = \(.value | value)") | .[]

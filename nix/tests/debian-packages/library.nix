# A library newer than the modules that are evaluated with it: what it no longer has is the old one's.
{ old, new }:
new.extend (_: now: removeAttrs old (builtins.attrNames now) // {
  types = removeAttrs old.types (builtins.attrNames now.types) // now.types;
  # Still there, and only to say that it will not be.
  inherit (old) crossLists fold mapAttrsFlatten replaceChars;
})

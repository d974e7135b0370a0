{
  description = "Names in the place of nixpkgs";
  outputs = _: removeAttrs (import ./.) [ "outPath" ];
}

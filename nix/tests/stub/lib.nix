let
  inherit (builtins)
    attrNames concatLists concatMap concatStringsSep elem elemAt filter genList hasAttr head isList length listToAttrs
    replaceStrings stringLength substring;
in
rec {
  inherit (builtins) any concatLists concatMap concatStringsSep isAttrs isFunction isList listToAttrs mapAttrs;
  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  mapAttrs' = f: set: listToAttrs (mapAttrsToList f set);
  filterAttrs = keep: set: removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  optionalAttrs = condition: set: if condition then set else { };
  unique = builtins.foldl' (known: value: if elem value known then known else known ++ [ value ]) [ ];
  concatMapStringsSep = separator: f: list: concatStringsSep separator (map f list);
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix = suffix: text:
    let surplus = stringLength text - stringLength suffix;
    in surplus >= 0 && substring surplus (stringLength suffix) text == suffix;
  hasInfix = infix: text: replaceStrings [ infix ] [ "" ] text != text;
  removePrefix = prefix: text:
    if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
  removeSuffix = suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  trim = text: builtins.elemAt (builtins.match "[[:space:]]*(.*[^[:space:]])?[[:space:]]*" text) 0;
  last = list: elemAt list (length list - 1);
  count = keep: list: length (filter keep list);
  findFirst = keep: none: list:
    let found = filter keep list; in if found == [ ] then none else head found;
  splitString = separator: text: filter builtins.isString (builtins.split separator text);
  # Plain values only.
  evalModules = { modules }: {
    config = removeAttrs (builtins.foldl' (all: module: all // module) { } modules) [ "config" ];
  };
  escapeShellArg = text: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  escapeShellArgs = texts: concatStringsSep " " (map escapeShellArg texts);
  makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
  cleanSourceWith = { name ? "source", src, filter }: builtins.path { path = src; inherit name filter; };
  mkOption = option: option // { _type = "option"; };
  mkDefault = content: { _type = "override"; priority = 1000; inherit content; };
  mkOptionDefault = content: { _type = "override"; priority = 1500; inherit content; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkForce = content: { _type = "override"; priority = 50; inherit content; };
  types = {
    anything = "anything";
    lazyAttrsOf = type: type;
    listOf = type: type;
    package = "package";
    str = "string";
  };
  getName = package: package.pname or package.name;
  trivial.release = "26.05";
  licenses = { mit = "MIT"; asl20 = "Apache-2.0"; };
  platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
}

# Stands in for nixpkgs where a nixpkgs can be had and its binaries cannot: NixOS modules, library and builders are
# nixpkgs' own, every program is Debian's, as a link into one tree that ./relocate.sh has made to run from the store.
#
# What modules mention and no guest of ../boot.sh needs is an empty package.
{ # A folder with lib, nixos/modules and pkgs/build-support.
  nixpkgs
, # A newer library than that of the modules, if something else is to be evaluated with them.
  library ? null
, # The archive of a Debian with the packages of ./programs.txt.
  archive
, # Words after "pkgs." in what is evaluated, one a line: a file.
  words
, # A Debian guest image of the harness: kernel and modules. Without one, nothing boots.
  guest ? null
, # Of its kernel.
  release ? "0"
, # Programs compiled elsewhere: name -> folder with bin/.
  compiled ? { }
}:
let
  system = "x86_64-linux";
  old = import (nixpkgs + "/lib");
  lib = if library == null then old else import ./library.nix { inherit old; new = import library; };
  elaborated = old.systems.elaborate system;

  debian = derivation {
    name = "debian";
    inherit system archive;
    builder = "/bin/sh";
    args = [ ./relocate.sh ];
    PATH = "/usr/bin:/bin";
  };
  raw = name: attributes: script: derivation (attributes // {
    inherit name system debian;
    builder = "${debian}/usr/bin/bash";
    args = [ "-euc" "${script}\nexit 0" ];
    PATH = "${debian}/usr/bin";
  });

  # With what modules ask a package for; all its outputs are one.
  package = name: version: attributes: derivation: derivation // rec {
    pname = name;
    inherit name version;
    outputUnspecified = true;
    meta = { outputsToInstall = [ "out" ]; priority = 5; platforms = [ ]; };
    outputs = [ "out" ];
    override = _: package name version attributes derivation;
    overrideAttrs = override;
  } // lib.genAttrs [ "out" "bin" "dev" "lib" "man" "doc" "info" "data" ] (_: derivation) // attributes;

  empty = name: package name "0" { } (raw name { } "mkdir $out");

  # Debian packages under a name of nixpkgs.
  taken = name: packages: package name "debian" { } (raw name { inherit packages; } (builtins.readFile ./take.sh));

  aliases = import ./names.nix;
  fromDebian = lib.mapAttrs taken aliases;

  script = name: text: raw name { inherit text; passAsFile = [ "text" ]; } ''
    mkdir -p $out/bin
    cp $textPath $out/bin/${name}
    chmod +x $out/bin/${name}
  '';

  lines = text: builtins.filter (line: builtins.isString line && line != "") (builtins.split "\n" text);
  names = lib.genAttrs (lines (builtins.readFile words)) empty;

  # What NixOS lists of systemd's own units; those that Debian's lacks do nothing.
  units = builtins.concatMap (part: if builtins.isList part then [ (builtins.head part) ] else [ ])
    (builtins.split "\"([a-zA-Z0-9@.-]+[.](service|target|socket|timer|path|mount|slice))\""
      (builtins.readFile (nixpkgs + "/nixos/modules/system/boot/systemd.nix")));

  build = file: nixpkgs + "/pkgs/build-support/${file}";

  own = self: {
    inherit lib debian system;
    pkgs = self;
    buildPackages = self;
    pkgsBuildHost = self;
    targetPackages = self;
    pkgsi686Linux = self;
    config = { };
    overlays = [ ];
    appendOverlays = overlays: fixed (builtins.foldl' lib.composeExtensions (_: _: { }) overlays);
    callPackage = file: arguments:
      let
        function = if lib.isFunction file then file else import file;
        wanted = lib.filterAttrs (name: optional: self ? ${name} || !optional) (lib.functionArgs function);
      in
      lib.makeOverridable function (lib.mapAttrs (name: _: self.${name} or (empty name)) wanted // arguments);

    stdenvNoCC = import (nixpkgs + "/pkgs/stdenv/generic") {
      name = "stdenv-debian";
      cc = null;
      hasCC = false;
      shell = "${self.bash}/bin/bash";
      initialPath = map (name: self.${name}) [
        "coreutils"
        "findutils"
        "diffutils"
        "gnused"
        "gnugrep"
        "gawk"
        "gnutar"
        "gzip"
        "bzip2"
        "gnumake"
        "bash"
        "patch"
        "xz"
      ];
      config = { };
      fetchurlBoot = throw "nothing is fetched";
      buildPlatform = elaborated;
      hostPlatform = elaborated;
      targetPlatform = elaborated;
      # Later versions of bash replace "&", and read nothing when asked for nothing.
      setupScript = raw "setup.sh" { original = nixpkgs + "/pkgs/stdenv/generic/setup.sh"; } ''
        { echo 'shopt -u patsub_replacement'; sed 's/read -r -N 0 /read -r -d "" /' $original; } >$out
      '';
    };
    # Nothing is compiled.
    stdenv = self.stdenvNoCC // { cc = empty "gcc" // { libc = self.glibc; cc = empty "gcc"; }; };
    runtimeShell = "${self.bash}/bin/bash";
    runtimeShellPackage = self.bash;
    substituteAll = self.callPackage (build "substitute/substitute-all.nix") { };
    buildEnv = self.callPackage (build "buildenv") { };
    closureInfo = self.callPackage (build "closure-info.nix") { };
    makeWrapper = self.callPackage ({ stdenvNoCC }: empty "make-wrapper") { };
    # What is compiled is given, or only a name.
    rustPlatform.buildRustPackage = { pname, ... }: compiled.${pname} or (empty pname);
    fetchCrate = { pname, ... }: empty pname;
    replaceDependency = { drv, ... }: drv;
    makeSetupHook = _: _: empty "hook";
    makeFontsConf = _: empty "fonts.conf";
    makeFontsCache = _: empty "fonts-cache";
    linkFarm = name: entries: raw name
      { links = lib.concatMapStrings (entry: "${entry.name} ${entry.path}\n") entries; passAsFile = [ "links" ]; } ''
      mkdir $out
      while read -r name path; do
        mkdir -p $(dirname $out/$name)
        ln -s $path $out/$name
      done <$linksPath
    '';
    emptyDirectory = raw "empty" { } "mkdir $out";
    writeShellApplication = { name, text, runtimeInputs ? [ ], ... }: script name ''
      #!${self.bash}/bin/bash
      set -euo pipefail
      export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
      ${text}
    '';
    formats = rec {
      json = _: {
        type = lib.types.json or lib.types.unspecified;
        generate = name: value: self.writeText name (builtins.toJSON value);
      };
      # All of the one is also the other.
      yaml = json;
      toml = _: {
        type = lib.types.unspecified;
        generate = name: value: raw name { value = builtins.toJSON value; passAsFile = [ "value" ]; } ''
          jq -r ${lib.escapeShellArg (builtins.readFile ./toml.jq)} $valuePath >$out
        '';
      };
    };

    nix = fromDebian.nix // { version = "2.26"; };
    bash = fromDebian.bash // { shellPath = "/bin/bash"; };
    bashInteractive = self.bash;
    utillinux = self.util-linux;
    iproute = self.iproute2;
    # It would look for its modules where it was installed.
    perl = package "perl" "5.40"
      { libPrefix = "lib/perl5/site_perl"; withPackages = _: self.perl; }
      (script "perl" ''
        #!${self.bash}/bin/bash
        export PERL5LIB=${lib.concatMapStringsSep ":" (folder: "${debian}/usr/${folder}") [
          "share/perl5"
          "share/perl/5.40"
          "lib/x86_64-linux-gnu/perl5/5.40"
          "lib/x86_64-linux-gnu/perl-base"
          "lib/x86_64-linux-gnu/perl/5.40"
        ]}
        exec ${debian}/usr/bin/perl "$@"
      '');
    perlPackages = lib.genAttrs [ "FileSlurp" "NetDBus" "XMLParser" "XMLTwig" "JSON" ] empty;
    python3 = fromDebian.python3 // { interpreter = "${fromDebian.python3}/bin/python3";
      pkgs = {
        setuptools = empty "setuptools";
        buildPythonApplication = { pname, ... }: empty pname;
      };
    };
    glibc = package "glibc" "2.41" { } (raw "glibc" { } ''
      mkdir -p $out/etc $out/lib
      ln -s $debian/usr/bin $out/bin
      : >$out/etc/rpc
      ln -s $debian/usr/lib/x86_64-linux-gnu/* $out/lib/
    '');
    glibcLocales = package "glibc-locales" "2.41" { } (raw "glibc-locales" { } ''
      mkdir -p $out/lib/locale
      : >$out/lib/locale/locale-archive
    '');
    lvm2 = package "lvm2" "0" { } (raw "lvm2" { } ''
      mkdir -p $out/lib/tmpfiles.d
      : >$out/lib/tmpfiles.d/lvm2.conf
    '');
    # Nobody is trusted: nothing is fetched.
    cacert = package "cacert" "0" { } (raw "cacert" { } ''
      mkdir -p $out/etc/ssl/certs
      : >$out/etc/ssl/certs/ca-bundle.crt
    '');
    iana-etc = package "iana-etc" "debian" { } (raw "iana-etc" { } ''
      mkdir -p $out/etc
      cp $debian/etc/protocols $debian/etc/services $out/etc/
    '');
    # Its configuration is checked where there is no user for it.
    openssh = package "openssh" "10.0" { } (raw "openssh" { original = fromDebian.openssh; } ''
      cp -rs $original/. $out
      chmod -R u+w $out
      ln -sf ${script "sshd" ''
        #!${self.bash}/bin/bash
        if [ "$1" != -t ]; then exec ${debian}/usr/bin/sshd "$@"; fi
      ''}/bin/sshd $out/bin/sshd
    '');
    shadow = fromDebian.shadow // { su = fromDebian.shadow; shellPath = "/bin/nologin"; };
    xorg = {
      lndir = script "lndir" ''
        #!${self.bash}/bin/bash
        if [ "$1" = -silent ]; then shift; fi
        exec ${self.coreutils}/bin/cp -rs --update=none "$1/." "''${2-.}"
      '';
    } // lib.genAttrs [ "xauth" "libX11" "libXext" "libXmu" ] empty;
    libsForQt5.kservice = empty "kservice";
    udev = self.systemd;
    systemd = package "systemd" "257"
      { interfaceVersion = 2; withLogind = true; passthru = { }; kbd = self.kbd; }
      (raw "systemd" { units = lib.unique units; } (builtins.readFile ./systemd.sh));
    makeDBusConf = { serviceDirectories, ... }: raw "dbus-1" { inherit serviceDirectories; } ''
      mkdir $out
      for bus in system session; do
        sed '/<\/busconfig>/d; /<includedir>/d; /<include /d' $debian/usr/share/dbus-1/$bus.conf >$out/$bus.conf
        for folder in $serviceDirectories; do
          echo "<servicedir>$folder/share/dbus-1/$bus-services</servicedir>" >>$out/$bus.conf
          echo "<includedir>$folder/share/dbus-1/$bus.d</includedir>" >>$out/$bus.conf
        done
        echo '</busconfig>' >>$out/$bus.conf
      done
    '';
    dbus = fromDebian.dbus // { daemon = fromDebian.dbus; };
    linux = package "linux" release { modDirVersion = release; features = { }; } (raw "linux" { inherit guest; } ''
      mkdir -p $out/lib
      cp $guest/vmlinuz $out/bzImage
      fsck.erofs --extract=layer $guest/modules.erofs
      mv layer/usr/lib/modules $out/lib/
    '');
    linuxPackages = {
      kernel = self.linux // { override = _: self.linux; config.isYes = _: true; configfile = empty "config"; };
      extend = _: self.linuxPackages;
      stdenv = self.stdenv;
      wireguard = empty "wireguard";
    };
    linuxPackages_latest = self.linuxPackages;
    aggregateModules = modules: builtins.head modules;
    makeModulesClosure = _: empty "modules-closure";
  }
  // import (build "trivial-builders.nix") {
    inherit lib;
    inherit (self) stdenv stdenvNoCC runtimeShell;
    inherit (self.xorg) lndir;
  }
  // lib.mapAttrs (name: folder: package name "compiled" { }
    (if lib.isString folder then { type = "derivation"; outPath = folder; } else folder)) compiled;

  fixed = overlay: lib.fix (lib.extends overlay (self: names // fromDebian // own self));
  pkgs = fixed (_: _: { });

  # Options of later releases: declared, without effect.
  bare = lib.evalModules {
    specialArgs = { modulesPath = nixpkgs + "/nixos/modules"; baseModules = moduleList; };
    modules = moduleList;
  };
  isKnown = set: path:
    set._type or "" == "option" || path == [ ]
    || (set ? ${lib.head path} && isKnown set.${lib.head path} (lib.tail path));
  missing = builtins.filter
    (name: !lib.hasPrefix "meshbench." name && !(isKnown bare.options (lib.splitString "." name)))
    (builtins.filter (line: !lib.hasPrefix "#" line)
      (lines (builtins.readFile ../stub/options.txt) ++ lines (builtins.readFile ./options.txt)));

  moduleList = import (nixpkgs + "/nixos/modules/module-list.nix");
  nixosSystem = { modules, specialArgs ? { }, ... }:
    lib.evalModules ({
      specialArgs = { modulesPath = nixpkgs + "/nixos/modules"; baseModules = moduleList; } // specialArgs;
      modules = moduleList ++ modules ++ [ (import ./gap.nix { inherit pkgs lib missing; }) ];
    } // lib.optionalAttrs (library != null) { class = "nixos"; });
in
{
  lib = lib // { inherit nixosSystem; };
  outPath = nixpkgs;
  legacyPackages = { x86_64-linux = pkgs; aarch64-linux = pkgs; };
  inherit debian;
}

# mkGuest as it is, on a machine without nixpkgs: what takes the place of NixOS is Debian's kernel, and an init that
# only runs the agent. Proves the image's making, its guest.json, and its boot up to the system's own init.
{ system
, # A Debian 13 with these programs, a folder.
  tools
, # A Debian guest image: its kernel, modules and agent.
  guest
, # Of its kernel.
  release
}:
let
  lib = import ../stub/lib.nix;

  names = [
    "awk"
    "basename"
    "bash"
    "cat"
    "chmod"
    "cp"
    "cpio"
    "env"
    "find"
    "findmnt"
    "fsck.erofs"
    "grep"
    "install"
    "ip"
    "jq"
    "ln"
    "ls"
    "mkdir"
    "mkfs.erofs"
    "mkfs.ext4"
    "mktemp"
    "modprobe"
    "mount"
    "mv"
    "nix-hash"
    "rm"
    "sed"
    "sleep"
    "sort"
    "tar"
    "touch"
    "truncate"
    "uname"
    "xz"
    "zstd"
  ];
  # The programs with their libraries in the store, each behind a script that starts it with them.
  programs = derivation {
    name = "programs";
    inherit system tools names;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [
      "-euc"
      ''
        mkdir -p $out/bin $out/lib $out/real
        libraries=$(echo $tools/usr/lib/*-linux-gnu)
        loader=$(basename $libraries/ld-linux-*.so.*)
        for name in $names; do
          program=$tools/usr/bin/$name
          [ -e $program ] || [ -L $program ] || program=$tools/usr/sbin/$name
          # Links into /etc/alternatives lead out of the folder.
          while [ -L $program ]; do
            case $(readlink $program) in
              /*) program=$tools$(readlink $program) ;;
              *) program=$(dirname $program)/$(readlink $program) ;;
            esac
          done
          cp $program $out/real/$name
          $libraries/$loader --library-path $libraries --list $program | sed -n 's/^.* => \(.*\) (.*$/\1/p'
          printf '#!/bin/sh\nexec %s --argv0 %s --library-path %s %s "$@"\n' \
            $out/lib/$loader $name $out/lib $out/real/$name >$out/bin/$name
        done >needed
        echo $libraries/$loader >>needed
        cp -L $(sort -u needed) $out/lib/
        # The one without libraries, for /bin/sh of the guest.
        cp $tools/usr/bin/busybox $out/bin/sh
        # What the harness asks of a machine before it counts as up.
        printf '#!/bin/sh\necho running\n' >$out/bin/systemctl
        chmod +x $out/bin/* $out/lib/$loader
      ''
    ];
  };
  shell = "${programs}/bin/bash";

  run = name: arguments: script:
    derivation
      (builtins.removeAttrs arguments [ "nativeBuildInputs" "passthru" ] // {
        inherit name system;
        builder = "/bin/sh";
        args = [ shell "-euc" script ];
        PATH = "${programs}/bin";
        SHELL = shell;
      }) // { inherit name; } // arguments.passthru or { };

  agent = run "agent" { } ''
    fsck.erofs --extract=layer ${guest}/agent.erofs
    mkdir -p $out/bin
    cp layer/usr/lib/meshbench/agent $out/bin/meshbench-agent
  '';
  kernel = run "kernel" { } ''
    mkdir -p $out/lib
    cp ${guest}/vmlinuz $out/bzImage
    fsck.erofs --extract=layer ${guest}/modules.erofs
    mv layer/usr/lib/modules $out/lib/
  '';
  toplevel = run "system" { } ''
    mkdir $out
    ln -s ${programs} $out/sw
    cat >$out/init <<EOF
    #!${shell}
    export PATH=${programs}/bin
    echo "the system's init runs"
    while true; do ${agent}/bin/meshbench-agent; done
    EOF
    chmod +x $out/init
  '';

  pkgs = {
    stdenv.hostPlatform = {
      inherit system;
      isx86_64 = system == "x86_64-linux";
      isAarch64 = system == "aarch64-linux";
    };
    overlays = [ ];
    runCommand = run;
    runtimeShell = shell;
    writeScript = name: text: run name { inherit text; passAsFile = [ "text" ]; } ''
      cp $textPath $out
      chmod +x $out
    '';
    closureInfo = { rootPaths }: run "closure-info"
      {
        exportReferencesGraph = lib.concatMap
          (path: [ "graph-${baseNameOf (builtins.unsafeDiscardStringContext path)}" path ])
          (map (path: "${path}") rootPaths);
      } ''
      mkdir $out
      cat graph-* | grep '^/nix/store/' | sort -u >$out/store-paths
    '';
  } // lib.genAttrs [ "coreutils" "util-linux" "cpio" "kmod" "xz" "zstd" "erofs-utils" "jq" "nix" ] (_: programs);

  nixpkgs.lib.nixosSystem = { modules }: {
    config = {
      system = {
        build = { inherit toplevel kernel; };
        modulesTree = kernel;
        boot.loader.kernelFile = "bzImage";
      };
      boot.kernelPackages.kernel.modDirVersion = release;
    };
  };
in
import ../../guest.nix { inherit lib nixpkgs pkgs agent; } { name = "image"; }

# The Rust code: the agent, a static program without dependence on any guest, and the harness that carries it.
{ lib, pkgs, root, flake }:
let
  manifest = builtins.fromTOML (builtins.readFile (root + "/Cargo.toml"));
  inherit (manifest.workspace.package) version;

  # Of the tree, only these files and folders: an edited README builds nothing anew.
  source = name: wanted: lib.cleanSourceWith {
    inherit name;
    src = root;
    filter = path: _:
      let
        relative = lib.removePrefix "${toString root}/" (toString path);
        within = prefix: relative == prefix || lib.hasPrefix "${prefix}/" relative;
        leadsTo = prefix: lib.hasPrefix "${relative}/" prefix;
      in
      lib.any (prefix: within prefix || leadsTo prefix) wanted;
  };
  manifests = [ "Cargo.toml" "Cargo.lock" ]
    ++ map (name: "harness/${name}/Cargo.toml") [ "meshbench" "runner" "site" "bench" ];
  guest = [ "harness/protocol" "harness/agent" ];
  # What the library carries.
  shipped = [ "modules" "checks" ];

  # One edit is told from another. Modules and scenarios are recorded by their content.
  measures = builtins.unsafeDiscardStringContext "${source "meshbench-harness" (manifests ++ [ "harness" ])}";
  edited =
    if flake ? dirtyRev
    then "${flake.dirtyRev}-${builtins.substring 0 16 (builtins.hashString "sha256" measures)}"
    else "unknown";

  common = {
    inherit version;
    cargoLock.lockFile = root + "/Cargo.lock";
  };

  # A program for guests. Not with musl but with the C library of all other guests, so that both providers' are alike.
  static = name: rest: pkgs.rustPlatform.buildRustPackage (common // {
    pname = name;
    buildInputs = [ pkgs.glibc.static ];
    RUSTFLAGS = "-C target-feature=+crt-static";
    # A guest's initrd has no shared objects: a dynamic program would be found out only by a dead machine.
    doInstallCheck = true;
    doCheck = false;
    installCheckPhase = ''
      if LC_ALL=C readelf --program-headers "$out/bin/${name}" | grep INTERP; then
        echo "${name} is not static"
        exit 1
      fi
    '';
    meta = {
      description = "A program inside meshbench machines";
      license = [ lib.licenses.mit lib.licenses.asl20 ];
      platforms = lib.platforms.linux;
      mainProgram = name;
    };
  } // rest);
in
rec {
  agent = static "meshbench-agent" {
    src = source "meshbench-agent-source" (manifests ++ guest);
    # Cargo wants a target in every member of the workspace, though it builds only one of them.
    postPatch = ''
      mkdir -p harness/meshbench/src harness/meshbench/benches harness/runner/src harness/site/src harness/bench/src
      touch harness/meshbench/src/lib.rs harness/meshbench/build.rs harness/bench/src/main.rs
      touch harness/runner/src/lib.rs harness/runner/src/main.rs harness/site/src/lib.rs
      for bench in $(sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"$/\1/p' harness/meshbench/Cargo.toml); do
        touch "harness/meshbench/benches/$bench.rs"
      done
    '';
    cargoBuildFlags = [ "--package" "meshbench-agent" "--bin" "meshbench-agent" ];
  };

  runner = static "meshbench-runner" {
    src = source "meshbench-runner-source" (manifests ++ shipped ++ [ "harness" ]);
    cargoBuildFlags = [ "--package" "meshbench-runner" "--bin" "meshbench-runner" ];
    buildNoDefaultFeatures = true;
    buildFeatures = [ "program" ];
    # As everyone else builds it.
    CARGO_PROFILE_RELEASE_OPT_LEVEL = "1";
  };

  bench = pkgs.rustPlatform.buildRustPackage (common // {
    pname = "meshbench";
    src = source "meshbench-source" (manifests ++ shipped ++ [ "harness" ]);
    nativeBuildInputs = [ pkgs.makeWrapper ];
    MESHBENCH_AGENT = "${agent}/bin/meshbench-agent";
    MESHBENCH_RUNNER = "${runner}/bin/meshbench-runner";
    MESHBENCH_REVISION = flake.rev or edited;
    # Tests that need no machines; those that do are the flake's other checks.
    cargoTestFlags = [ "--package" "meshbench" "--package" "meshbench-cli" "--lib" "--bins" ];
    postInstall = ''
      mkdir -p $out/share/meshbench
      cp -r modules checks $out/share/meshbench/
      wrapProgram $out/bin/bench \
        --prefix PATH : ${lib.makeBinPath [ pkgs.qemu_test ]} \
        --set-default MESHBENCH_ROOT $out/share/meshbench
    '';
    meta = {
      description = "Measures mesh VPNs on QEMU clusters";
      license = [ lib.licenses.mit lib.licenses.asl20 ];
      platforms = lib.platforms.linux;
      mainProgram = "bench";
    };
  });
}

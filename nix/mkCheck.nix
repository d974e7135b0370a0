# A measurement as a derivation: the harness runs in the build sandbox, without root and without network, and its
# results, tables, JUnit report and logs are the output.
#
# It needs nothing of nixpkgs, so that other flakes, and the test in tests/sandbox, can give it any tools.
{ system
, # A POSIX shell, absolute.
  shell
, # Folders of programs, joined by colons: coreutils and QEMU.
  path
, # The harness' program, absolute.
  bench
, # A folder with modules/ and checks/.
  root
, # Guest images by module: folders with a guest.json, or these files. `internal` is always there.
  guests
, # What a build machine must offer.
  features ? [ "benchmark" ]
,
}:
{ module
, scenario
, # Empty: those that the scenario itself names.
  workloads ? [ ]
, blocks ? 1
, quick ? true
, # Another seed is another measurement; the same one is built once.
  seed ? 1
, # Whether a cell that failed fails the build. If not, the results say so and `exit-code` is 100.
  strict ? true
, # Further arguments for `bench run`.
  arguments ? [ ]
,
}:
let
  flag = name: values: builtins.concatMap (value: [ name value ]) values;
  wanted = if module == "internal" then [ "internal" ] else [ "internal" module ];
  absent = builtins.filter (name: !(guests ? ${name})) wanted;
  run =
    [ module "--scenario" scenario "--blocks" (toString blocks) "--seed" (toString seed) ]
    ++ flag "--workload" workloads
    ++ flag "--guest" (map (name: "${name}=${guests.${name}}") wanted)
    ++ (if quick then [ "--quick" ] else [ ])
    ++ arguments;
in
assert absent == [ ] || throw "mkCheck ${module}: there is no guest image for ${toString absent}";
derivation
  {
    name = "meshbench-${module}-${scenario}";
    inherit system bench root;
    builder = shell;
    args = [ ./check.sh ] ++ run;
    PATH = path;
    strict = if strict then "1" else "";
    requiredSystemFeatures = features;
    # Measurements that wait for a stolen processor measure the thief.
    preferLocalBuild = false;
    enableParallelBuilding = false;
  }
  // {
  # Hydra's limits, in seconds.
  meta = {
    description = "${module} on ${scenario}";
    timeout = 6 * 60 * 60;
    maxSilent = 60 * 60;
  };
}

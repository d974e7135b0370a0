# A measurement as a derivation: the harness runs in the build sandbox, without root and without network. It asserts the
# module's contract (it connects, leaks nothing, keeps strangers out) and that every workload of the scenario is
# measured over the expected path; results, tables, JUnit reports and logs are the output.
#
# In virtual time its output is a function of its inputs, and neither KVM nor a quiet machine is needed: any number may
# be built at once.
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
, # The QEMU of virtual time, absolute: its version decides the figures.
  qemu ? null
,
}:
{ module
, scenario
, # Empty: the scenario's own.
  workloads ? [ ]
, blocks ? 1
, quick ? true
, # Another seed is another measurement; the same one is built once.
  seed ? 1
, # Whose time is measured: `real` or `virtual`.
  clock ? "real"
, # Whether a broken promise, a failed cell or a detour fails the build. If not, the output says so and its `exit-code`
  # is 100.
  strict ? true
, # Whether the module's contract is checked, on a network of its own.
  contract ? strict && module != "internal"
, # Further arguments for `bench run`.
  arguments ? [ ]
,
}:
let
  flag = name: values: builtins.concatMap (value: [ name value ]) values;
  wanted = if module == "internal" then [ "internal" ] else [ "internal" module ];
  absent = builtins.filter (name: !(guests ? ${name})) wanted;
  run =
    [ "--scenario" scenario "--blocks" (toString blocks) "--seed" (toString seed) "--clock" clock ]
    ++ flag "--workload" workloads
    ++ (if quick then [ "--quick" ] else [ ])
    ++ arguments;
in
assert builtins.elem clock [ "real" "virtual" ]
  || throw "mkCheck ${module}: the clock ${clock} is neither real nor virtual";
assert absent == [ ] || throw "mkCheck ${module}: there is no guest image for ${toString absent}";
derivation
  {
    name = "meshbench-${module}-${scenario}";
    inherit system bench root module;
    guests = map (name: "${name}=${guests.${name}}") wanted;
    builder = shell;
    args = [ ./check.sh ] ++ run;
    PATH = path;
    # True is "1", false is empty.
    inherit strict contract clock;
    MESHBENCH_QEMU = qemu;
    # Nothing of virtual time depends on who else builds here.
    requiredSystemFeatures = if clock == "virtual" then [ ] else features;
  }
  // {
  # Hydra's limits, in seconds.
  meta = {
    description = "${module} on ${scenario}";
    timeout = 6 * 60 * 60;
    maxSilent = 60 * 60;
  };
}

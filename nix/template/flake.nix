# Checks of a VPN whose folder, ./vpn, is made by `nix flake init -t meshbench#vpn`.
{
  inputs.meshbench.url = "github:OWNER/meshbench";

  outputs = { self, meshbench }:
    let
      inherit (meshbench.inputs.nixpkgs) lib legacyPackages;
      scenarios = [ "lan" "home-dsl" "symmetric-both" ];
      check = pkgs: scenario: meshbench.lib.mkCheck {
        inherit pkgs scenario;
        module = "vpn";
        folder = ./vpn;
      };
    in
    {
      checks = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system:
        lib.genAttrs scenarios (check legacyPackages.${system}));
    };
}

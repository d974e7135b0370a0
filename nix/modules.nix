# nixosModules: one per VPN, with its package, kernel modules and firewall; `default` makes any configuration a guest.
{ lib, found, scopes }:
lib.mapAttrs (_: folder: { imports = [ (folder + "/nixos.nix") ]; }) found.vpns
  // {
  default = { pkgs, ... }: {
    imports = [ ./profile.nix ];
    meshbench.agent = lib.mkDefault scopes.${pkgs.stdenv.hostPlatform.system}.agent;
  };
}
